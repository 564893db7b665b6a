//! The last possible number of a row is taken.

use rusqlite::Connection;

use crate::store::jobs::enqueue;
use crate::store::tests::writing::{new_job, store};

#[test]
fn numbers_that_are_used_up_are_told_from_a_full_disk() {
    for (table, id, what) in [("jobq_feed", 2, "an event"), ("jobq_job", 1, "a job")] {
        let spent = [
            format!("UPDATE {table} SET id = 9223372036854775807"),
            format!(
                "UPDATE jobq_number SET value = 9223372036854775807 WHERE what = -2 AND id = {id}"
            ),
        ];
        for spoil in spent {
            let (_folder, store) = store();
            let enqueue = || store.write(|tx| enqueue::enqueue(tx, &new_job()).map(|_| ()));
            enqueue().unwrap();
            let conn = Connection::open(store.path()).unwrap();
            let spoil = format!("PRAGMA foreign_keys = OFF; {spoil}");
            conn.execute_batch(&spoil).unwrap();
            let error = enqueue().unwrap_err();
            assert!(error.is_corrupt() && !error.is_full(), "{spoil}: {error}");
            assert!(error.to_string().contains(what), "{spoil}: {error}");
        }
    }
}
