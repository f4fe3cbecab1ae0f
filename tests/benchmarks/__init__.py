"""Benchmarks: what the middleware costs, beside what one would use otherwise. Not part of the tests.

`python -m tests.benchmarks` runs all of them and ends with the goals; each runs alone too, and takes `--quick`:

    python -m tests.benchmarks.overhead     what is added to a call, in one process; by routes and clients
    python -m tests.benchmarks.stages       where the time of a call goes
    python -m tests.benchmarks.membership   look-ups, building and memory of allow lists; by entries
    python -m tests.benchmarks.end_to_end   requests a second and latency over loopback; needs wrk
    python -m tests.benchmarks.soak         memory over a million calls
    python -m tests.benchmarks.fleet        what 1,000 workers ask of their store: formula and simulation
    python -m tests.benchmarks.guard        fails where a call executes more than is committed; needs nothing
    python -m tests.benchmarks.counting     what each kind of call executes, by function
    python -m tests.benchmarks.plots        draws the results again
    python -m tests.benchmarks.report       prints the tables of the README from the results

They need `pip install -e '.[all]' --group bench`; results and plots lie beside this file.
"""
