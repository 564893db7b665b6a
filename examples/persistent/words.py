#!/usr/bin/env python3
"""Counts words: a persistent handler in Python.

jobq starts it once and gives it one job after the other, each as a line of JSON. What it prints goes to the job's log,
except for lines like those that `say` prints: see `jobq help persistent`.
"""
import json
import os
import sys


def say(word, **fields):
    print(json.dumps({"jobq": word, **fields}), flush=True)


def count(job):
    text = job["payload"]["text"]
    print("counting", len(text), "characters")
    say("progress", job=job["job"], percent=50, message="half done")
    say("done", job=job["job"], result={"words": len(text.split()), "pid": os.getpid()})


say("ready")
for line in sys.stdin:
    job = json.loads(line)
    if "cancel" in job:
        continue  # The job that it names is done already.
    try:
        count(job)
    except (KeyError, TypeError, AttributeError) as error:
        say("fail", job=job["job"], error=f"bad payload: {error!r}")
    except Exception as error:
        say("retry", job=job["job"], error=repr(error), after_ms=1000)
