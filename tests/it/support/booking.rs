//! Jobs with an effect in the application's own table, which stands in the queue's file.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use jobq::{Context, Failure, Job, Queue};
use serde::{Deserialize, Serialize};

use super::effects::EffectLog;

/// Books an order.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Booking {
    pub(crate) order: u64,
    pub(crate) style: Style,
    /// After each of its steps it takes up to so long.
    pub(crate) pause: Duration,
    /// It goes on until this file is there, or the one with the attempt's number as its extension.
    pub(crate) gate: Option<PathBuf>,
}

/// How the effect is committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Style {
    /// With the job's completion.
    Together,
    /// In a transaction of its own; the job completes when the handler has returned.
    Apart,
}

impl Job for Booking {
    const KIND: &'static str = "booking";
    type Output = u32; // the attempt that booked it
}

/// Makes the application's table.
pub(crate) fn make_table(queue: &Queue) {
    let table = "CREATE TABLE booking (order_id INTEGER NOT NULL, attempt INTEGER NOT NULL)";
    queue
        .transaction(|tx| -> jobq::Result<()> { Ok(tx.connection().execute_batch(table)?) })
        .unwrap();
}

/// The bookings: order and attempt.
pub(crate) fn bookings(place: &super::place::Place) -> Vec<(u64, u32)> {
    let conn = place.connect();
    let mut statement = conn
        .prepare("SELECT order_id, attempt FROM booking ORDER BY rowid")
        .unwrap();
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)));
    rows.unwrap().map(Result::unwrap).collect()
}

/// The handler, which says in the log of effects that it begins and how it ends.
pub(crate) fn book(
    log: EffectLog,
    process: String,
) -> impl Fn(Booking, &Context) -> Result<u32, Failure> {
    move |booking, ctx| {
        log.append(ctx, &process, "begin");
        if let Some(gate) = &booking.gate {
            let own = gate.with_extension(ctx.attempt().to_string());
            while !gate.exists() && !own.exists() {
                std::thread::sleep(Duration::from_micros(500));
            }
        }
        let insert = "INSERT INTO booking (order_id, attempt) VALUES (?1, ?2)";
        let values = (booking.order, ctx.attempt());
        let booked = match booking.style {
            Style::Together => ctx.complete_in(|tx| {
                tx.connection().execute(insert, values)?;
                spin_up_to(booking.pause);
                Ok(ctx.attempt())
            }),
            Style::Apart => ctx.queue().transaction(|tx| {
                tx.connection().execute(insert, values)?;
                Ok(ctx.attempt())
            }),
        };
        spin_up_to(booking.pause);
        log.append(
            ctx,
            &process,
            if booked.is_ok() { "end" } else { "refused" },
        );
        booked
    }
}

fn spin_up_to(longest: Duration) {
    let until = Instant::now() + longest.mul_f64(fastrand::f64());
    while Instant::now() < until {
        std::hint::spin_loop();
    }
}
