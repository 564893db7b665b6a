//! A process that serves several attempts, as a browser does.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use crate::handlers::exec::children::Child;
use crate::handlers::exec::exit::End;
use crate::handlers::exec::spawn::{CommandSpec, Stdin};
use crate::runner::context::Context;
use crate::runner::leftovers::{
    DATABASE_VARIABLE, HANDLER_VARIABLE, Leftover, Remains, handler_mark,
};

/// A process that is not an attempt's: whoever has started it ends it. It is among the commands of this process, and so
/// it is not reaped as an orphan, and stops and goes on with them. Its environment names its runner: whoever finds that
/// one lost ends what it has left.
pub(crate) struct Companion {
    child: Child,
    remains: Remains,
}

/// The runner that a companion belongs to.
pub(crate) struct CompanionOwner {
    pub(crate) database: PathBuf,
    pub(crate) runner: i64,
}

impl CompanionOwner {
    /// The runner of an attempt.
    pub(crate) fn of(ctx: &Context) -> CompanionOwner {
        CompanionOwner {
            database: ctx.queue().path(),
            runner: ctx.runner(),
        }
    }
}

/// This side of its pipes.
pub(crate) struct CompanionPipes {
    /// Does not block.
    pub(crate) stdin: OwnedFd,
    pub(crate) stdout: OwnedFd,
    pub(crate) stderr: OwnedFd,
}

impl Companion {
    /// Starts it as the leader of a session of its own.
    ///
    /// # Errors
    /// Why it cannot be started.
    pub(crate) fn start(
        mut spec: CommandSpec,
        owner: &CompanionOwner,
    ) -> Result<(Companion, CompanionPipes), String> {
        spec.env.set(DATABASE_VARIABLE, &owner.database);
        spec.env.set(HANDLER_VARIABLE, handler_mark(owner.runner));
        let (child, started) = Child::start(&spec, Stdin::Open).map_err(|end| match end {
            End::NotFound(why) | End::CannotRun(why) | End::NotNow(why) | End::NoRoom(why) => why,
            other => format!("{other:?}"),
        })?;
        let companion = Companion {
            remains: child.remains(&spec.env),
            child,
        };
        let Some(feed) = started.feed else {
            return Err("it has no stdin".to_owned());
        };
        let pipes = CompanionPipes {
            stdin: feed.pipe,
            stdout: started.stdout,
            stderr: started.stderr,
        };
        Ok((companion, pipes))
    }

    /// The id of the process, of its group and of its session.
    pub(crate) fn pid(&self) -> i32 {
        self.child.pid.as_raw_nonzero().get()
    }

    /// Kills it and what it has started, and says how it ended, if it was not by that.
    pub(crate) fn end(mut self) -> Option<String> {
        let killed = self.remains.kill();
        if killed == Leftover::Survives {
            log::error!("processes of {} cannot be killed", self.pid());
        }
        let status = self.child.reap()?.ok()?.status;
        (killed == Leftover::Nothing).then(|| status.to_string())
    }
}

impl Drop for Companion {
    fn drop(&mut self) {
        if !self.child.is_reaped() {
            self.remains.kill();
            let _nobody_asks = self.child.reap();
        }
    }
}
