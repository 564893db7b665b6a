//! Many commands in one transaction, each with its own result.

use crate::Result;
use crate::model::file_options::Durability;
use crate::store::sqlite::command::{Command, refuse};
use crate::store::sqlite::connection;
use crate::store::sqlite::tx::Tx;
use crate::store::sqlite::writer::{Group, Writer, not_saved};

impl Writer {
    /// Commits all `commands` and then `body` as one transaction, and replies. The error is the
    /// body's: the commands have been answered each on its own. Those that nobody waits for stay in
    /// `commands` where they could not be written, to be written before anything that comes later; `body`
    /// has not run then.
    pub(crate) fn transact<T>(
        &mut self,
        commands: &mut Vec<Box<dyn Command>>,
        body: &mut dyn FnMut(&mut Tx<'_>) -> Result<T>,
    ) -> Result<T> {
        match self.group(commands, body) {
            Group::Committed { outcomes, body } => {
                for (command, outcome) in commands.drain(..).zip(outcomes) {
                    command.reply(outcome);
                }
                body
            }
            Group::Lost(error) => {
                refuse(commands, &error);
                Err(error)
            }
            Group::Ended => self.one_by_one(commands, body),
        }
    }

    /// Commits `body` without waiting for the disk, which may sleep on: it may be lost with the power.
    pub(crate) fn transact_unsynced<T>(
        &mut self,
        body: &mut dyn FnMut(&mut Tx<'_>) -> Result<T>,
    ) -> Result<T> {
        connection::sync_commits(self.conn()?, Durability::Normal)?;
        let done = self.alone(body);
        let durability = self.config.durability;
        let synced = self
            .conn
            .as_ref()
            .map(|conn| connection::sync_commits(conn, durability));
        // The next connection is configured anew.
        if let Some(Err(error)) = synced {
            log::error!(
                "commits are not made durable any more, opening the database anew: {error}"
            );
            self.drop_connection();
        }
        done
    }

    /// An error inside ended the whole transaction: so that one command's trouble is not everybody's,
    /// each gets a transaction of its own. What can be written later keeps its order.
    fn one_by_one<T>(
        &mut self,
        commands: &mut Vec<Box<dyn Command>>,
        body: &mut dyn FnMut(&mut Tx<'_>) -> Result<T>,
    ) -> Result<T> {
        let mut held_up = None;
        for mut command in std::mem::take(commands) {
            let can_wait = command.posted().is_some();
            if can_wait && held_up.is_some() {
                commands.push(command);
                continue;
            }
            match self.alone(&mut |tx| command.apply(tx)) {
                Err(error) if can_wait && error.may_pass() => {
                    held_up = Some(error);
                    commands.push(command);
                }
                outcome => command.reply(outcome),
            }
        }
        match held_up {
            Some(error) => Err(error),
            None => self.alone(body),
        }
    }

    fn alone<T>(&mut self, body: &mut dyn FnMut(&mut Tx<'_>) -> Result<T>) -> Result<T> {
        match self.group(&mut Vec::new(), body) {
            Group::Committed { body, .. } => body,
            Group::Lost(error) => Err(error),
            Group::Ended => Err(not_saved()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::Error;
    use crate::error::Kind;
    use crate::model::id::JobId;
    use crate::store::sqlite::backlog::Backlog;
    use crate::store::sqlite::command::{Call, Posted, ReplyTo};
    use crate::store::sqlite::writer::tests::writer;

    type Apply = Box<dyn FnMut(&mut Tx<'_>) -> Result<()> + Send>;

    fn write(name: &'static str) -> Apply {
        Box::new(move |tx| {
            let sql = "INSERT INTO list (name) VALUES (?1)";
            tx.conn.execute(sql, [name])?;
            Ok(())
        })
    }

    fn posted(body: Apply) -> Box<dyn Command> {
        let job = JobId(1);
        let posted = Posted {
            job,
            what: "output",
        };
        let _room = Backlog::new(0).room_anyway(0);
        Box::new(Call::new(body, ReplyTo::Log { posted, _room }))
    }

    #[test]
    fn unwritable_calls_stay_in_order_while_others_go_on() {
        let (_folder, mut writer) = writer();
        let list = "CREATE TABLE list (id INTEGER PRIMARY KEY, name TEXT)";
        writer.conn().unwrap().execute_batch(list).unwrap();
        let is_full = Arc::new(AtomicBool::new(true));
        let full = Arc::clone(&is_full);
        let mut large = write("large");
        let large: Apply = Box::new(move |tx| {
            if full.load(Ordering::Relaxed) {
                tx.conn.execute_batch("ROLLBACK")?;
                return Err(Error::new(Kind::Full, "full"));
            }
            large(tx)
        });
        let (reply, answer) = crossbeam_channel::bounded(1);
        let call = Call::new(write("call"), ReplyTo::Caller(reply));
        let mut commands = vec![
            posted(write("before")),
            posted(large),
            posted(write("after")),
            Box::new(call) as Box<dyn Command>,
        ];
        let error = writer.transact(&mut commands, &mut |tx| write("end")(tx));
        assert!(error.unwrap_err().is_full());
        answer.recv().unwrap().done().unwrap();
        assert_eq!(commands.len(), 2);
        is_full.store(false, Ordering::Relaxed);
        let done = writer.transact(&mut commands, &mut |tx| write("end")(tx));
        done.unwrap();
        assert!(commands.is_empty());
        let conn = writer.conn().unwrap();
        let names = "SELECT group_concat(name, ' ') FROM (SELECT name FROM list ORDER BY id)";
        let names: String = conn.query_row(names, [], |row| row.get(0)).unwrap();
        assert_eq!(names, "before call large after end");
    }

    #[test]
    fn commits_are_durable_again_after_one_that_need_not_be() {
        let (_folder, mut writer) = writer();
        let synchronous = |conn: &rusqlite::Connection| -> Result<i64> {
            Ok(conn.pragma_query_value(None, "synchronous", |row| row.get(0))?)
        };
        writer.config.durability = Durability::Full;
        connection::sync_commits(writer.conn().unwrap(), Durability::Full).unwrap();
        assert_eq!(synchronous(writer.conn().unwrap()).unwrap(), 2);
        let failing: Apply = Box::new(|_| Err(Error::new(Kind::Full, "full")));
        for mut body in [write("x"), failing] {
            let mut during = 0;
            let _ = writer.transact_unsynced(&mut |tx| {
                during = synchronous(tx.conn)?;
                body(tx)
            });
            assert_eq!(during, 1);
            assert_eq!(synchronous(writer.conn().unwrap()).unwrap(), 2);
        }
    }
}
