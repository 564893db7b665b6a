#!/usr/bin/python3
"""Records what an independent implementation makes of cron rules: tests/data/cron.tsv.

    /usr/bin/python3 tests/data/cron.py > tests/data/cron.tsv

Made with croniter 1.3.5 (Debian's python3-croniter 1.3.5-3), Python's zoneinfo and the system's
tzdata. croniter walks the wall clock without a zone; zoneinfo says which moments those are. Starts
lie in the past, where the rules of zones no longer change.

Left out, and counted in the first line of the table:
- "clock changes": lines where one of the slots lies in an hour that a zone leaves out or repeats.
  What jobq does there is a rule of its own, and the property tests in src/schedule/tests.rs check it.
- "contradictions": lines where croniter passes over a moment that croniter.match() says is a slot. It
  loses 1 March for a step of days that begins in February: 0 6 */10 * *.
- 15W and LW, which croniter does not know.

croniter writes the seconds last, the last Friday as L5, and has no nicknames; the table has jobq's
way of writing them.
"""

import collections
import datetime as dt
import sys
from zoneinfo import ZoneInfo

import croniter

RULES = """
* * * * *
*/5 * * * *
*/7 * * * *
3-59/17 * * * *
0 * * * *
30 */2 * * *
15 4-20/3 * * *
0 2 * * *
30 2 * * *
0 0 * * *
59 23 * * *
5,35 8,12,18 * * *
0 9 * * MON-FRI
0 9 * * 1,3,5
0 22 * * SAT,SUN
15 10 * * 7
0 12 * * 0
0 12 1 * *
0 12 31 * *
0 12 30 * *
0 12 29 2 *
0 12 28-31 * *
0 6 */10 * *
0 6 1,15 * *
0 6 1-7 1,7 *
0 6 1 JAN,JUL *
0 6 10 MAR-MAY *
0 6 L * *
30 18 L 2 *
0 7 * * FRI#2
0 7 * * 1#1
0 7 * * 5#5
0 7 * * FRIL
0 7 * 12 1L
0 0 13 * FRI
0 8 1 * MON
0 8 15 6 SUN
20 14 29 2 WED
*/10 * * * * *
0,30 * * * * *
45 59 23 31 12 *
15 30 6 * * MON
7-59/13 10 * * * *
* * 3 * * *
@yearly
@monthly
@weekly
@daily
@hourly
""".strip().splitlines()

ZONES = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "America/St_Johns",
    "Australia/Lord_Howe",
    "Asia/Kathmandu",
]

STARTS = ["2016-02-27T11:59:30", "2019-12-31T23:59:59", "2020-03-28T20:10:00", "2023-10-28T21:45:07"]

NICKNAMES = {
    "@yearly": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@hourly": "0 * * * *",
}
SLOTS = 5


def as_croniter_writes_it(rule):
    fields = NICKNAMES.get(rule, rule).split()
    if len(fields) == 6:
        fields = fields[1:] + fields[:1]
    weekday = fields[4]
    if weekday.endswith("L"):
        names = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"]
        day = weekday[:-1]
        fields[4] = f"L{names.index(day) if day in names else day}"
    return " ".join(fields)


def is_plain(naive, zone):
    """Whether this wall clock time comes exactly once."""
    first, second = (naive.replace(tzinfo=zone, fold=fold) for fold in (0, 1))
    return first.utcoffset() == second.utcoffset()


def is_slot(rule, at):
    try:
        return croniter.croniter.match(as_croniter_writes_it(rule), at)
    except croniter.CroniterBadDateError:
        return False  # match() looks backwards, and gives up where a date is rare.


def passed_over(rule, naive, found):
    """Whether a day is missing at the time of day of a slot, by croniter's own judgement."""
    for time in {slot.time() for slot in found}:
        day = naive.date()
        while day <= min(found[-1].date(), naive.date() + dt.timedelta(days=70)):
            at = dt.datetime.combine(day, time)
            if is_slot(rule, at) and naive < at < found[-1] and at not in found:
                return True
            day += dt.timedelta(days=1)
    return False


def slots(rule, zone, start):
    naive = start.astimezone(zone).replace(tzinfo=None)
    walk = croniter.croniter(as_croniter_writes_it(rule), naive)
    found = [walk.get_next(dt.datetime) for _ in range(SLOTS)]
    if not all(is_plain(slot, zone) for slot in [naive] + found):
        return "clock changes"
    if passed_over(rule, naive, found):
        return "contradictions"
    return [slot.replace(tzinfo=zone).astimezone(dt.timezone.utc) for slot in found]


def main():
    lines, left_out = [], collections.Counter()
    for row, rule in enumerate(RULES):
        for column, name in enumerate(ZONES):
            # Half of the combinations, so that each rule meets each zone and each start.
            for text in STARTS[(row + column) % 2 :: 2]:
                start = dt.datetime.fromisoformat(text).replace(tzinfo=dt.timezone.utc)
                found = slots(rule, ZoneInfo(name), start)
                if isinstance(found, str):
                    left_out[found] += 1
                    continue
                shown = [f"{at:%Y-%m-%dT%H:%M:%SZ}" for at in [start] + found]
                lines.append("\t".join([rule, name] + shown))
    why = ", ".join(f"{count} for {reason}" for reason, count in sorted(left_out.items()))
    print(f"# {len(lines)} lines; left out: {why}. Made by cron.py, which says how.")
    sys.stdout.write("".join(line + "\n" for line in lines))


main()
