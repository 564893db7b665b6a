//! What this program does when it has started itself, to measure a process of its own or two that work
//! on one file.

use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use jobq::bench::{
    Setup, cpu_time, drain, enqueue_stamped, fill, peak_memory_bytes, written_bytes,
};
use jobq::{Durability, Queue};

use crate::Done;

/// The first argument of a child.
pub(crate) const FLAG: &str = "--child";

/// A runner is left alone for so long before it counts as idle.
const SETTLE: Duration = Duration::from_secs(1);

/// A child; it still lacks its last argument, a number.
pub(crate) fn command(role: &str, db: &Path, durability: Durability) -> std::io::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command
        .args([FLAG, role, durability_word(durability)])
        .arg(db)
        .stdin(Stdio::null());
    Ok(command)
}

/// The numbers that a child prints, each on a line.
pub(crate) fn numbers(
    mut command: Command,
    number: usize,
) -> Result<Vec<f64>, Box<dyn std::error::Error>> {
    let output = command
        .arg(number.to_string())
        .stderr(Stdio::inherit())
        .output()?;
    if !output.status.success() {
        return Err(format!("a child ended with {}", output.status).into());
    }
    let text = String::from_utf8(output.stdout)?;
    Ok(text.lines().map(str::parse).collect::<Result<_, _>>()?)
}

pub(crate) fn durability_word(durability: Durability) -> &'static str {
    match durability {
        Durability::Full => "full",
        Durability::Normal => "normal",
    }
}

pub(crate) fn run(words: Vec<String>) -> Done {
    let [role, durability, db, number] = words.as_slice() else {
        return Err("a child needs a role, a durability, a database and a number".into());
    };
    let durability = match durability.as_str() {
        "full" => Durability::Full,
        _ => Durability::Normal,
    };
    let db = Path::new(db);
    let folder = db.parent().unwrap_or(Path::new("."));
    let queue = Setup::new(folder, Queue::options(), durability).open(db)?;
    let number: usize = number.parse()?;
    match role.as_str() {
        "stamped" => enqueue_stamped(&queue, number)?,
        "idle" => idle(&queue, Duration::from_secs(number as u64))?,
        "fill" => {
            fill(&queue, number, |job| job)?;
            println!("{}", peak_memory_bytes().unwrap_or(0));
        }
        "drain" => {
            drain(&queue, number)?;
            println!("{}", peak_memory_bytes().unwrap_or(0));
        }
        role => return Err(format!("there is no child '{role}'").into()),
    }
    Ok(())
}

/// Prints the processor time in milliseconds and the bytes written, both for each second.
fn idle(queue: &Queue, time: Duration) -> Done {
    // Nothing comes: the handler is there only so that it looks for jobs.
    let runner = queue
        .runner()
        .job::<jobq::handlers::sleep::Sleep>(|_, _| Ok(()))
        .start()?;
    thread::sleep(SETTLE);
    let (cpu, written, began) = (cpu_time(), written_bytes(), Instant::now());
    thread::sleep(time);
    let seconds = began.elapsed().as_secs_f64();
    let cpu = cpu_time() - cpu;
    let written = written_bytes()
        .zip(written)
        .map(|(now, before)| now - before);
    println!("{}", cpu.as_secs_f64() * 1e3 / seconds);
    println!("{}", written.unwrap_or(0) as f64 / seconds);
    runner.stop()?;
    Ok(())
}
