//! A shop whose own tables and jobs share one file, and a runner that is killed again and again.
//!
//! An order is stored together with the job that books its payment (`enqueue_in`), and a payment is
//! booked together with the completion of its job (`complete_in`). So each order is booked exactly
//! once, although the process that books is ended by SIGKILL at random moments.
//!
//! `cargo run --example ledger -- [seed] [kills]`

use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use jobq::rusqlite::{Connection, TransactionBehavior};
use jobq::{Context, Failure, Job, Queue, Until};
use serde::{Deserialize, Serialize};

type Anything<T = ()> = Result<T, Box<dyn std::error::Error>>;

/// The application's own tables. That an order could be booked twice is not ruled out by them.
const TABLES: &str = "
    CREATE TABLE customer_order (id INTEGER PRIMARY KEY, cents INTEGER NOT NULL);
    CREATE TABLE booking (
        id       INTEGER PRIMARY KEY,
        order_id INTEGER NOT NULL REFERENCES customer_order (id),
        cents    INTEGER NOT NULL,
        process  INTEGER NOT NULL
    );";

#[derive(Serialize, Deserialize)]
struct Payment {
    order: i64,
}

impl Job for Payment {
    const KIND: &'static str = "payment";
    type Output = i64; // the number of the booking
}

fn book(payment: Payment, ctx: &Context) -> Result<i64, Failure> {
    // What takes long comes first: while a transaction is open, nobody else writes.
    work_for_up_to(Duration::from_millis(2));
    let booked = ctx.complete_in(|tx| {
        let cents: i64 = tx.connection().query_row(
            "SELECT cents FROM customer_order WHERE id = ?1",
            [payment.order],
            |row| row.get(0),
        )?;
        tx.connection().execute(
            "INSERT INTO booking (order_id, cents, process) VALUES (?1, ?2, ?3)",
            (payment.order, cents, std::process::id()),
        )?;
        work_for_up_to(Duration::from_millis(1));
        Ok(tx.connection().last_insert_rowid())
    });
    work_for_up_to(Duration::from_millis(1));
    booked
}

/// Time in which the process may be killed.
fn work_for_up_to(longest: Duration) {
    std::thread::sleep(longest.mul_f64(fastrand::f64()));
}

fn main() -> Anything<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [role, path] = &arguments[..]
        && role == "runner"
    {
        return run_until_killed(Path::new(path));
    }
    let number = |at: usize| arguments.get(at).map(|number| number.parse::<u64>());
    let seed = number(0)
        .transpose()?
        .unwrap_or_else(|| fastrand::u64(..1000));
    let kills = number(1).transpose()?.unwrap_or(8);
    let folder = std::env::temp_dir().join(format!("jobq-ledger-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let is_sound = keep_shop(&folder.join("shop.db"), seed, kills)?;
    if !is_sound {
        println!("the file is kept in {}", folder.display());
        return Ok(ExitCode::FAILURE);
    }
    std::fs::remove_dir_all(folder)?;
    Ok(ExitCode::SUCCESS)
}

/// What the child process does.
fn run_until_killed(path: &Path) -> Anything<ExitCode> {
    let queue = Queue::open(path)?;
    let runner = queue.runner().workers(2).job(book).start()?;
    // Should this program end first: its end of the pipe is closed then.
    std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink())?;
    runner.stop()?;
    Ok(ExitCode::SUCCESS)
}

fn keep_shop(path: &Path, seed: u64, kills: u64) -> Anything<bool> {
    let mut random = fastrand::Rng::with_seed(seed);
    // The application's file: jobq adds its tables, and changes neither the others nor any mode.
    let mut shop = Connection::open(path)?;
    shop.pragma_update(None, "journal_mode", "WAL")?;
    shop.busy_timeout(Duration::from_secs(10))?;
    shop.execute_batch(TABLES)?;
    let queue = Queue::open(path)?;

    let orders = 30 * kills.max(1);
    for _ in 0..orders {
        let tx = shop.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let cents = random.i64(100..10_000);
        tx.execute("INSERT INTO customer_order (cents) VALUES (?1)", [cents])?;
        let order = tx.last_insert_rowid();
        queue.enqueue_in(&tx, Payment { order })?;
        tx.commit()?; // the order and its job, or neither
    }
    println!("{orders} orders, each with the job that books it (seed {seed}, {kills} kills)");

    for kill in 1..=kills {
        let mut runner = start_runner(path)?;
        // Some orders later, and a moment that nothing depends on: it is in the middle of others.
        wait_for_bookings(&shop, booked(&shop)? + random.i64(6..20))?;
        std::thread::sleep(Duration::from_micros(random.u64(0..3000)));
        runner.kill()?; // SIGKILL
        runner.wait()?;
        let bookings = booked(&shop)?;
        println!(
            "  runner {kill} (process {}) killed at {bookings} bookings",
            runner.id()
        );
    }
    let last = queue.runner().job(book).until(Until::Drained);
    let done = last.start()?.wait()?.stats.completed;
    println!("  the last runner, unharmed, completed the other {done}");
    judge(&shop, orders)
}

fn start_runner(path: &Path) -> Anything<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("runner").arg(path).stdin(Stdio::piped());
    Ok(command.spawn()?)
}

fn booked(shop: &Connection) -> Anything<i64> {
    Ok(shop.query_row("SELECT count(*) FROM booking", [], |row| row.get(0))?)
}

fn wait_for_bookings(shop: &Connection, wanted: i64) -> Anything {
    let began = Instant::now();
    while booked(shop)? < wanted {
        if began.elapsed() > Duration::from_secs(30) {
            return Err(format!("there are not {wanted} bookings after 30 s").into());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// Whether each order was booked once, and each job completed.
fn judge(shop: &Connection, orders: u64) -> Anything<bool> {
    let count = |sql: &str| shop.query_row(sql, [], |row| row.get::<_, u64>(0));
    let missing = count(
        "SELECT count(*) FROM customer_order WHERE id NOT IN (SELECT order_id FROM booking)",
    )?;
    let doubled = count(
        "SELECT count(*) FROM (SELECT 1 FROM booking GROUP BY order_id HAVING count(*) > 1)",
    )?;
    let completed = count("SELECT count(*) FROM jobq_jobs WHERE state = 'completed'")?;
    let again = count("SELECT count(*) FROM jobq_jobs WHERE attempt > 1")?;
    println!("{again} jobs were begun more than once, as a kill had hit them");
    println!(
        "{orders} orders: {missing} not booked, {doubled} booked twice, {completed} jobs completed"
    );
    Ok(missing == 0 && doubled == 0 && completed == orders)
}
