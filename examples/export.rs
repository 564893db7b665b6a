//! The jobs of a web shop's back office: typed, owned by a tenant, each with a progress bar.
//!
//! A job `scrape_reviews` reads a shop's reviews from a server, page by page; `export_data` writes them to a file; and
//! `report` counts stars when both are done. The server fails once, and the worker is ended by SIGKILL in the middle of
//! the export: a second worker takes over at once, and the export goes on behind the rows that the file has.
//!
//! `cargo run --example export`

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jobq::{Backoff, Context, Failure, Job, JobRecord, NewJob, Progress, Queue, State};
use serde::{Deserialize, Serialize};

type Anything<T = ()> = Result<T, Box<dyn std::error::Error>>;

const SHOP: &str = "shop-7";
const PAGES: usize = 20;
const REVIEWS_A_PAGE: usize = 10;

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ScrapeReviews {
    shop_id: String,
    server: String,
}

#[derive(Serialize, Deserialize)]
struct Review {
    stars: usize,
    text: String,
}

impl Job for ScrapeReviews {
    const KIND: &'static str = "scrape_reviews";
    type Output = Vec<Review>;

    fn options(&self, job: NewJob) -> NewJob {
        let job = job.tenant(&self.shop_id).max_retries(3);
        job.backoff(Backoff::Fixed)
            .retry_delay(Duration::from_millis(200))
    }
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ExportData {
    shop_id: String,
    rows: usize,
    to: PathBuf,
}

#[derive(Serialize, Deserialize)]
struct Exported {
    file: PathBuf,
    rows: usize,
    began_at_row: usize,
}

impl Job for ExportData {
    const KIND: &'static str = "export_data";
    type Output = Exported;

    fn options(&self, job: NewJob) -> NewJob {
        job.tenant(&self.shop_id)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct StarReport {
    shop_id: String,
    reviews: jobq::JobId,
}

impl Job for StarReport {
    const KIND: &'static str = "report";
    type Output = [usize; 5]; // how many reviews have one star, two and so on

    fn options(&self, job: NewJob) -> NewJob {
        job.tenant(&self.shop_id).after([self.reviews])
    }
}

fn scrape(job: ScrapeReviews, ctx: &Context) -> Result<Vec<Review>, Failure> {
    let mut reviews = Vec::new();
    for page in 0..PAGES {
        let mut stream = TcpStream::connect(&job.server)?;
        write!(stream, "GET /{}/{page} HTTP/1.0\r\n\r\n", job.shop_id)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").ok_or("half an answer")?;
        if !head.starts_with("HTTP/1.0 200") {
            let status = head.lines().next().unwrap_or_default();
            return Err(format!("page {page}: {status}").into());
        }
        let found: Vec<Review> = serde_json::from_str(body)?;
        reviews.extend(found);
        ctx.progress(Progress::of(page as u64 + 1, PAGES as u64));
    }
    Ok(reviews)
}

/// Each row is written once: an attempt goes on where the one before it was killed.
fn export(job: ExportData, ctx: &Context) -> Result<Exported, Failure> {
    let part = job.to.with_extension("part");
    let began_at_row = whole_lines(&part)?;
    let mut file = OpenOptions::new().create(true).append(true).open(&part)?;
    for row in began_at_row..job.rows {
        if ctx.is_cancelled() {
            return Err(Failure::cancelled());
        }
        writeln!(file, "{},order {row},{} cents", job.shop_id, row * 7 % 1000)?;
        ctx.progress(Progress::of(row as u64 + 1, job.rows as u64));
        std::thread::sleep(Duration::from_millis(2)); // as if each row were a query
    }
    file.sync_all()?;
    std::fs::rename(&part, &job.to)?;
    Ok(Exported {
        file: job.to,
        rows: job.rows,
        began_at_row,
    })
}

/// How many lines a file has; half a line at its end is cut.
fn whole_lines(path: &Path) -> std::io::Result<usize> {
    let Ok(file) = OpenOptions::new().read(true).write(true).open(path) else {
        return Ok(0);
    };
    let (mut lines, mut bytes) = (0, 0);
    let mut reader = BufReader::new(&file);
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line)? > 0 && line.ends_with(b"\n") {
        lines += 1;
        bytes += line.len() as u64;
        line.clear();
    }
    file.set_len(bytes)?;
    Ok(lines)
}

fn count_stars(job: StarReport, ctx: &Context) -> Result<[usize; 5], Failure> {
    let reviews = ctx.queue().output::<ScrapeReviews>(job.reviews)?;
    let mut counts = [0; 5];
    for review in reviews.ok_or("the reviews are not there")? {
        counts[review.stars - 1] += 1;
    }
    Ok(counts)
}

fn main() -> Anything {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [role, path] = &arguments[..]
        && role == "worker"
    {
        return work(Path::new(path));
    }
    let folder = std::env::temp_dir().join(format!("jobq-export-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let path = folder.join("jobs.db");
    let queue = Queue::open(&path)?;
    let server = serve_reviews()?;
    let mut worker = start_worker(&path)?;

    let shop_id = SHOP.to_owned();
    let reviews = queue.enqueue(ScrapeReviews {
        shop_id: shop_id.clone(),
        server,
    })?;
    let report = queue.enqueue(StarReport {
        shop_id: shop_id.clone(),
        reviews: reviews.id,
    })?;
    let export = queue.enqueue(ExportData {
        shop_id,
        rows: 1000,
        to: folder.join("orders.csv"),
    })?;
    watch(&queue, export.id, |job| percent(job) >= 50.0)?;
    worker.kill()?; // SIGKILL
    worker.wait()?;
    println!("-- the worker was killed");
    let mut worker = start_worker(&path)?;
    for id in [export.id, reviews.id, report.id] {
        watch(&queue, id, |_| false)?;
    }
    for attempt in queue.attempts(reviews.id)? {
        let error = attempt.end.error.as_deref().unwrap_or("done");
        println!("reviews, attempt {}: {error}", attempt.attempt);
    }
    let exported = export.output()?.ok_or("no export")?;
    let rows = BufReader::new(File::open(&exported.file)?).lines().count();
    println!(
        "{} rows, the last worker went on at row {}",
        rows, exported.began_at_row
    );
    let stars = report.output()?.ok_or("no report")?;
    println!("stars: {stars:?}");
    drop(worker.stdin.take()); // it stops
    worker.wait()?;
    if rows != exported.rows
        || exported.began_at_row == 0
        || stars.iter().sum::<usize>() != PAGES * REVIEWS_A_PAGE
    {
        return Err("something is missing".into());
    }
    std::fs::remove_dir_all(folder)?;
    Ok(())
}

/// What the worker's process does.
fn work(path: &Path) -> Anything {
    let queue = Queue::open(path)?;
    let runner = queue.runner().job(scrape).job(export).job(count_stars);
    let runner = runner.start()?;
    // Should this program end first: its end of the pipe is closed then.
    std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink())?;
    runner.stop()?;
    Ok(())
}

fn start_worker(path: &Path) -> Anything<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("worker").arg(path).stdin(Stdio::piped());
    Ok(command.spawn()?)
}

/// Draws the status of a job whenever it changes, until it is done or `is_enough`.
fn watch(queue: &Queue, id: jobq::JobId, is_enough: impl Fn(&JobRecord) -> bool) -> Anything {
    let mut changes = queue.changes()?;
    let mut drawn = String::new();
    loop {
        let job = queue.get(id)?.ok_or("it was removed")?;
        let tenths = (percent(&job) / 10.0) as usize;
        let bar = format!("[{:<10}]", "#".repeat(tenths));
        let error = job.error.as_deref().unwrap_or_default();
        let line = format!("{id:>2} {:<15} {bar} {:<9} {error}", job.kind, job.state);
        if line != drawn {
            println!("{line}");
            drawn = line;
        }
        match job.state {
            State::Failed | State::Cancelled => return Err(format!("{} failed", job.kind).into()),
            state if state.is_final() || is_enough(&job) => return Ok(()),
            _ => changes.wait(Duration::from_secs(2))?,
        };
    }
}

fn percent(job: &JobRecord) -> f64 {
    if job.state == State::Completed {
        return 100.0;
    }
    let progress = job.progress.as_ref();
    progress
        .and_then(|progress| progress.percent)
        .unwrap_or(0.0)
}

/// Serves reviews on a port of its own. The sixth request fails.
fn serve_reviews() -> Anything<String> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?.to_string();
    let has_failed = AtomicBool::new(false);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // Who has gone away is served no more.
            let _ = answer(stream, &has_failed);
        }
    });
    Ok(address)
}

fn answer(mut stream: TcpStream, has_failed: &AtomicBool) -> std::io::Result<()> {
    let mut request = String::new();
    BufReader::new(&stream).read_line(&mut request)?;
    // GET /shop-7/5 HTTP/1.0
    let page = request.split(['/', ' ']).nth(3);
    let page: usize = page.and_then(|page| page.parse().ok()).unwrap_or_default();
    if page == 5 && !has_failed.swap(true, Ordering::SeqCst) {
        return write!(stream, "HTTP/1.0 503 Busy\r\n\r\n");
    }
    let reviews = (0..REVIEWS_A_PAGE).map(|number| Review {
        stars: 1 + (page * number) % 5,
        text: format!("review {number} of page {page}"),
    });
    let body = serde_json::to_string(&reviews.collect::<Vec<_>>())?;
    write!(stream, "HTTP/1.0 200 OK\r\n\r\n{body}")
}
