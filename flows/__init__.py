"""When things happen: one module for each flow, which reads like its schedule.

    nightly = ingest -> calibration -> attribution -> report, for one session

Flows say when, tasks say how often to try, `ordinis` does the work. A flow ends Completed under a name that says so
when there is nothing to do, and what it did stands in the records, not in Prefect.
"""
