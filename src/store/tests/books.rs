//! What the file keeps besides the jobs themselves, compared with what the jobs say: places, keys,
//! deadlines, edges, families and bits, each row where it should be and none where it should not.

use crate::store::tests::sandbox::Sandbox;

/// What must be nowhere, and how to count it.
const FAULTS: [(&str, &str); 14] = [
    (
        "pending and running jobs with a key that hold no place",
        "SELECT count(*) FROM jobq_job j WHERE j.key IS NOT NULL AND j.state IN (2, 3)
         AND NOT EXISTS (SELECT 1 FROM jobq_concurrency_slot p WHERE p.job_id = j.id AND p.key = j.key AND p.held = 1)",
    ),
    (
        "jobs that are blocked by their key alone and stand in no line",
        "SELECT count(*) FROM jobq_job j WHERE j.key IS NOT NULL AND j.state = 1 AND j.unmet = 0
         AND NOT EXISTS (SELECT 1 FROM jobq_concurrency_slot p WHERE p.job_id = j.id AND p.key = j.key AND p.held = 0
             AND p.urgency = 3 - j.priority)",
    ),
    (
        "places of jobs that need none",
        "SELECT count(*) FROM jobq_concurrency_slot p LEFT JOIN jobq_job j ON j.id = p.job_id
         LEFT JOIN jobq_family f ON f.job_id = p.job_id
         WHERE j.id IS NULL OR NOT ((p.held = 1 AND j.state IN (2, 3)) OR (p.held = 0 AND j.state = 1 AND j.unmet = 0)
             OR (p.held = 0 AND j.state = 4 AND f.stage = 2))",
    ),
    (
        "keys with a free slot that a job waits for",
        "SELECT count(*) FROM (SELECT p.key, sum(p.held) AS held, sum(1 - p.held) AS line FROM jobq_concurrency_slot p GROUP BY p.key) t
         WHERE t.line > 0 AND t.held < coalesce((SELECT slots FROM jobq_key WHERE name = t.key), 1)",
    ),
    (
        "deadlines of jobs that can miss none",
        "SELECT count(*) FROM jobq_deadline d LEFT JOIN jobq_job j ON j.id = d.job_id
         WHERE j.id IS NULL OR j.state >= 5 OR j.links & 32 = 0 OR j.deadline <> d.at",
    ),
    (
        "jobs that can miss a deadline that nobody watches",
        "SELECT count(*) FROM jobq_job j WHERE j.links & 32 AND j.state IN (0, 1, 2)
         AND NOT EXISTS (SELECT 1 FROM jobq_deadline d WHERE d.job_id = j.id)",
    ),
    (
        "live jobs without their unique key",
        "SELECT count(*) FROM jobq_job j WHERE j.unique_key IS NOT NULL AND j.state < 5
         AND NOT EXISTS (SELECT 1 FROM jobq_unique u WHERE u.key = j.unique_key AND j.id IN (u.job_id, u.rerun_id) AND u.until IS NULL)",
    ),
    (
        "unique keys that are taken without end by jobs that have ended",
        "SELECT count(*) FROM jobq_unique u LEFT JOIN jobq_job j ON j.id = u.job_id
         WHERE u.until IS NULL AND (j.id IS NULL OR j.state >= 5)",
    ),
    (
        "families whose children are counted wrongly",
        "SELECT count(*) FROM jobq_family f WHERE
            f.total <> (SELECT count(*) FROM jobq_job c WHERE c.parent_id = f.job_id)
            OR f.done <> (SELECT count(*) FROM jobq_job c WHERE c.parent_id = f.job_id AND c.state = 5)
            OR f.failed <> (SELECT count(*) FROM jobq_job c WHERE c.parent_id = f.job_id AND c.state > 5)",
    ),
    (
        "blocked jobs that count their prerequisites wrongly",
        "SELECT count(*) FROM jobq_job j WHERE j.state = 1
         AND j.unmet <> (SELECT count(*) FROM jobq_prerequisite e WHERE e.job_id = j.id AND e.met = 0)",
    ),
    (
        "blocked jobs that wait for nobody",
        "SELECT count(*) FROM jobq_prerequisite e JOIN jobq_job j ON j.id = e.job_id LEFT JOIN jobq_job n ON n.id = e.needs_id
         WHERE e.met = 0 AND j.state = 1 AND (n.id IS NULL OR n.state >= 5 OR n.links & 4 = 0)",
    ),
    (
        "live jobs that could run and are blocked, or the other way round",
        "SELECT count(*) FROM jobq_job j WHERE j.state IN (0, 2, 3, 4)
         AND EXISTS (SELECT 1 FROM jobq_prerequisite e WHERE e.job_id = j.id AND e.met = 0)
         OR j.state = 1 AND j.unmet = 0 AND j.key IS NULL",
    ),
    (
        "waiting parents with nothing to wait for",
        "SELECT count(*) FROM jobq_job j JOIN jobq_family f ON f.job_id = j.id WHERE j.state = 4
         AND f.stage = 1 AND f.total > 0 AND f.total = f.done + f.failed",
    ),
    (
        "bits that do not say what is there",
        "SELECT count(*) FROM jobq_job j WHERE (j.links & 1 <> 0) <> (j.parent_id IS NOT NULL)
         OR (j.links & 2 <> 0) <> EXISTS (SELECT 1 FROM jobq_family f WHERE f.job_id = j.id)
         OR (j.links & 8 <> 0) <> (j.key IS NOT NULL) OR (j.links & 16 <> 0) <> (j.unique_key IS NOT NULL)
         OR (j.links & 64 <> 0) <> EXISTS (SELECT 1 FROM jobq_tag t WHERE t.job_id = j.id)
         OR (j.links & 1024 <> 0) <> EXISTS (SELECT 1 FROM jobq_retry_delays d WHERE d.job_id = j.id)
         OR (j.links & 4096 <> 0) <> EXISTS (SELECT 1 FROM jobq_hook h WHERE h.job_id = j.id)
         OR (j.links & 8192 <> 0) <> EXISTS (SELECT 1 FROM jobq_hook_job h WHERE h.job_id = j.id)
         OR (j.links & 32768 <> 0) <> EXISTS (SELECT 1 FROM jobq_traceparent t WHERE t.job_id = j.id)
         OR (j.links & 2048 <> 0) <> EXISTS (SELECT 1 FROM jobq_outcome o WHERE o.job_id = j.id AND o.snooze_ms IS NOT NULL)
         OR (j.links & 2048 <> 0 AND j.state <> 3) OR (j.links & 128 = 0 AND EXISTS (SELECT 1 FROM jobq_prerequisite e WHERE e.job_id = j.id AND e.rule < 2))",
    ),
];

fn faults(sandbox: &Sandbox) -> Vec<(&'static str, i64)> {
    FAULTS
        .iter()
        .map(|(fault, sql)| (*fault, sandbox.number(sql)))
        .filter(|(_, rows)| *rows > 0)
        .collect()
}

impl Sandbox {
    /// Nothing is left behind, and nothing is missing.
    #[track_caller]
    pub(super) fn assert_books_are_right(&self) {
        self.assert_counters_are_right();
        assert_eq!(faults(self), []);
        let dangling = self.number("SELECT count(*) FROM pragma_foreign_key_check");
        assert_eq!(dangling, 0);
    }
}

#[test]
fn every_fault_in_the_books_is_noticed() {
    use crate::model::job::NewJob;

    let spoils = [
        "DELETE FROM jobq_concurrency_slot WHERE held = 1",
        "DELETE FROM jobq_concurrency_slot WHERE held = 0",
        "UPDATE jobq_concurrency_slot SET job_id = 1 WHERE held = 0",
        "INSERT INTO jobq_key VALUES ('k', 2)",
        "UPDATE jobq_job SET deadline = 5 WHERE id = 3",
        "DELETE FROM jobq_deadline",
        "DELETE FROM jobq_unique",
        "INSERT INTO jobq_unique (key, job_id, until) VALUES ('other', 99, NULL)",
        "UPDATE jobq_family SET done = 1",
        "UPDATE jobq_job SET unmet = 2 WHERE id = 5",
        "UPDATE jobq_job SET links = links & ~4 WHERE id = 1",
        "UPDATE jobq_job SET state = 2 WHERE id = 5",
        "UPDATE jobq_job SET parent_id = NULL, state = 2, links = 0 WHERE id = 7; UPDATE jobq_family SET total = 1, done = 1",
        "UPDATE jobq_job SET links = links | 64 WHERE id = 1",
    ];
    for ((fault, _), spoil) in FAULTS.iter().zip(spoils) {
        let mut sandbox = Sandbox::new();
        let first = sandbox.enqueue(NewJob::new("send"));
        sandbox.enqueue(NewJob::new("send").key("k"));
        let deadline = jiff::Timestamp::from_millisecond(sandbox.now_ms + 1).unwrap();
        sandbox.enqueue(NewJob::new("send").key("k").deadline(deadline));
        sandbox.enqueue(NewJob::new("send").unique("u"));
        sandbox.enqueue(NewJob::new("send").after([first]));
        let group = sandbox.enqueue(NewJob::new("group"));
        sandbox.enqueue(NewJob::new("send").parent(group));
        sandbox.assert_books_are_right();
        sandbox.sql(spoil);
        let found = faults(&sandbox);
        assert!(
            found.iter().any(|(found, _)| found == fault),
            "{spoil}: {found:?}"
        );
    }
}
