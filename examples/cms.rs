//! The jobs of a content management system, with the payloads and options that it has always used.
//!
//! Its mails, pictures, cleanups and backups are built-in kinds; two processors of its own and a plug-in's are
//! registered by their names. They start by priority. What can be tried again is: a mail that the
//! server does not take yet, an article that is locked; what cannot is not. The worker is ended by SIGKILL while
//! it builds the search index: the next one goes on where it was. Schedules come and go meanwhile.
//!
//! `cargo run --features handlers --example cms`

#[path = "support/smtp_sink.rs"]
mod smtp_sink;
#[path = "support/worker.rs"]
mod worker;

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use jobq::handlers::built_in::BuiltInKind;
use jobq::{
    Backoff, Context, EnqueueLimits, EventData, EventFilter, EventKind, Failure, Filter, Job,
    JobHandle, JobId, JobOptions, JobRecord, MetricSpan, NewJob, Priority, Progress, Queue,
    RetryPolicy, RunnerBuilder, Schedule, State,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use smtp_sink::SmtpSink;
use worker::{Anything, Worker, wait_until};

/// Processors with another timeout, other retries and another delay than the configuration's, in seconds.
const PROCESSORS: [(&str, u64, u32, u64); 3] = [
    ("email", 30, 3, 5),
    ("image_process", 120, 2, 10),
    ("backup", 600, 1, 60),
];

/// A job as the CMS writes it.
#[derive(Deserialize)]
struct CmsJob {
    r#type: String,
    payload: Value,
    #[serde(default)]
    options: CmsOptions,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct CmsOptions {
    priority: Option<Priority>,
    delay: Option<u64>,
    max_retries: Option<u32>,
    retry_delay: Option<u64>,
    backoff: Option<Backoff>,
}

/// Checks the payload and adds the job.
fn add(queue: &Queue, job: CmsJob) -> Anything<JobHandle<NewJob>> {
    if let Some(kind) = BuiltInKind::named(&job.r#type) {
        kind.check(&job.payload.to_string())?;
    }
    let options = JobOptions {
        priority: job.options.priority,
        when: job.options.delay.map(|ms| Duration::from_millis(ms).into()),
        max_retries: job.options.max_retries,
        retry_delay: job.options.retry_delay.map(Duration::from_millis),
        backoff: job.options.backoff,
        ..JobOptions::default()
    };
    let new = NewJob::new(&*job.r#type).payload(&job.payload);
    Ok(queue.enqueue(new.with_options(options.or(&usual(&job.r#type))))?)
}

/// Adds the jobs of `cms/jobs.json`. Some others are refused.
fn add_all(queue: &Queue) -> Anything<Vec<JobHandle<NewJob>>> {
    let wrong = json!({"type": "email", "payload": {"to": "john@example.org", "subjct": "Hello"}});
    let Err(refused) = add(queue, serde_json::from_value(wrong)?) else {
        return Err("its subject is misspelt".into());
    };
    println!("refused: {refused}");
    let jobs: Vec<CmsJob> = serde_json::from_str(include_str!("cms/jobs.json"))?;
    let jobs = jobs.into_iter().map(|job| add(queue, job));
    let jobs = jobs.collect::<Anything<Vec<_>>>()?;
    let too_many = vec![NewJob::new("publish"); 1000];
    let refused = queue.enqueue_many(too_many);
    assert!(refused.is_err_and(|error| error.is_queue_full()));
    Ok(jobs)
}

/// The options of a processor's jobs where they say nothing.
fn usual(kind: &str) -> JobOptions {
    let Some((_, timeout_s, retries, delay_s)) = PROCESSORS.iter().find(|it| it.0 == kind) else {
        return JobOptions::default();
    };
    JobOptions {
        timeout: Some(Duration::from_secs(*timeout_s)),
        max_retries: Some(*retries),
        retry_delay: Some(Duration::from_secs(*delay_s)),
        ..JobOptions::default()
    }
}

/// Makes an article public.
#[derive(Serialize, Deserialize)]
struct Publish {
    article: u32,
}

impl Job for Publish {
    const KIND: &'static str = "publish";
    type Output = PathBuf;
}

fn publish(job: Publish, _: &Context) -> Result<PathBuf, Failure> {
    let draft = format!("drafts/{}.html", job.article);
    if !Path::new(&draft).exists() {
        return Err(Failure::permanent(format!("there is no {draft}")));
    }
    if Path::new(&draft).with_extension("lock").exists() {
        let soon = Duration::from_millis(500);
        let why = format!("{draft} is being edited");
        return Err(Failure::retry_after(why, soon));
    }
    let page = PathBuf::from(format!("public/{}.html", job.article));
    fs::copy(draft, &page)?;
    Ok(page)
}

/// Writes a line for each article. An attempt goes on where the one before it was killed.
#[derive(Serialize, Deserialize)]
struct SearchIndex {
    articles: u64,
}

impl Job for SearchIndex {
    const KIND: &'static str = "search_index";
    /// At which article the last attempt began.
    type Output = u64;
}

fn search_index(job: SearchIndex, ctx: &Context) -> Result<u64, Failure> {
    let mut part = File::options()
        .create(true)
        .append(true)
        .open("index.part")?;
    // All lines are of the same length; half a one is written anew.
    let line = |article| format!("{article:>7}\n");
    let begin = part.metadata()?.len() / 8;
    part.set_len(begin * 8)?;
    for article in begin..job.articles {
        if ctx.is_cancelled() {
            return Err(Failure::cancelled());
        }
        part.write_all(line(article).as_bytes())?;
        ctx.progress(Progress::of(article + 1, job.articles));
        std::thread::sleep(Duration::from_millis(3)); // as if each article were read
    }
    fs::rename("index.part", "public/index")?;
    Ok(begin)
}

/// What an extension of the CMS brings along.
trait Plugin {
    fn processors(&self, runner: RunnerBuilder) -> RunnerBuilder;
    fn schedules(&self) -> Vec<Schedule>;
}

#[derive(Serialize, Deserialize)]
struct Sitemap {}

impl Job for Sitemap {
    const KIND: &'static str = "sitemap";
    type Output = usize;
}

impl Plugin for Sitemap {
    fn processors(&self, runner: RunnerBuilder) -> RunnerBuilder {
        runner.job(|_: Sitemap, _| Ok(fs::read_dir("public")?.count()))
    }

    fn schedules(&self) -> Vec<Schedule> {
        vec![Schedule::new("sitemap", "@every 1s", Sitemap {})]
    }
}

const PLUGINS: [&dyn Plugin; 1] = [&Sitemap {}];

/// The configuration of the queue: 1000 jobs, and three retries after 5 s unless a job or its processor says else.
fn open(path: impl AsRef<Path>) -> jobq::Result<Queue> {
    let limits = EnqueueLimits {
        max_queue_size: Some(1000),
        retry: RetryPolicy {
            max_retries: 3,
            delay: Duration::from_secs(5),
            ..RetryPolicy::default()
        },
        ..EnqueueLimits::default()
    };
    Queue::options().limits(limits).open(path)
}

/// What the worker's process does: five jobs at a time, each five minutes at most.
fn work(smtp_port: &str) -> Anything {
    let folder = std::env::current_dir()?;
    let templates = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/cms/templates");
    let smtp = json!({
        "host": "127.0.0.1", "port": smtp_port.parse::<u16>()?, "from": "CMS <cms@example.org>",
        "templates": templates,
    });
    let weekly = json!({
        "queries": [{"title": "Jobs", "sql": "SELECT kind, count(*) AS jobs FROM jobq_jobs GROUP BY kind"}],
        "format": "html",
    });
    let mut runner = open("jobs.db")?.runner().workers(5);
    runner = runner.default_timeout(Duration::from_secs(300));
    for (kind, settings) in [
        ("email", json!({"servers": {"default": smtp}})),
        ("image_process", json!({"root": folder})),
        (
            "cleanup",
            json!({"remove_old_logs": [folder.join("logs")], "temp_files": [folder.join("tmp")]}),
        ),
        ("backup", json!({})),
        ("report", json!({"reports": {"weekly": weekly}})),
    ] {
        let kind = BuiltInKind::named(kind).ok_or("the feature `handlers` is off")?;
        runner = kind.add_to(runner, &settings.to_string(), &folder)?;
    }
    runner = runner.job(publish).job(search_index);
    for plugin in PLUGINS {
        runner = plugin.processors(runner);
    }
    worker::work(runner)
}

fn main() -> Anything {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [role, smtp_port] = &arguments[..]
        && role == "worker"
    {
        return work(smtp_port);
    }
    let folder = std::env::temp_dir().join(format!("jobq-cms-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    // Cleanups follow no links, and the folder for temporary files may be one.
    let folder = folder.canonicalize()?;
    make_site(&folder)?;
    let queue = open(folder.join("jobs.db"))?;
    let smtp = start_mail_server()?;
    notify(queue.clone());

    let jobs = add_all(&queue)?;
    let [.., locked, _, index, tomorrow] = &jobs[..] else {
        return Err("cms/jobs.json has other jobs".into());
    };
    let worker = Worker::start(&folder, &[smtp.port.to_string()])?;
    wait_until(&queue, || Ok(locked.get()?.retries > 0))?;
    fs::remove_file(folder.join("drafts/2.lock"))?;
    wait_until(&queue, || Ok(percent(&index.get()?) >= 25.0))?;
    worker.kill()?;
    println!("-- the worker was killed");
    let worker = Worker::start(&folder, &[smtp.port.to_string()])?;
    tomorrow.cancel()?;
    schedule(&queue)?;
    let ids: Vec<JobId> = jobs.iter().map(|job| job.id).collect();
    let ended = queue.wait(&ids, Some(Duration::from_secs(60)))?;
    worker.stop()?;

    println!("-- what has become of the jobs");
    check(&queue, &ended)?;
    // One that was being sent when the worker was killed comes twice, with the same Message-ID.
    let mails: Vec<String> = smtp.mails.try_iter().collect();
    for texts in [
        ["Subject: Welcome, John", "Hello John,"],
        ["slow@example.org", "a new page"],
    ] {
        let has_all = |mail: &String| texts.iter().all(|text| mail.contains(text));
        assert!(mails.iter().any(has_all), "{texts:?}");
    }
    for (file, is_there) in [
        ("logs/old.log", false),
        ("logs/new.log", true),
        ("tmp/old", false),
        ("tmp/new", true),
        ("public/1.html", true),
        ("public/2.html", true),
        ("public/3.html", false),
    ] {
        assert_eq!(folder.join(file).exists(), is_there, "{file}");
    }
    let lines = fs::read_to_string(folder.join("public/index"))?;
    assert!((0..600).eq(lines.lines().map(|line| line.trim().parse().unwrap_or(-1))));
    assert_eq!(
        image::image_dimensions(folder.join("public/photo.webp"))?,
        (800, 600)
    );
    println!("-- how long they took");
    for record in queue.metrics(MetricSpan::Lifetime, ..)? {
        let average = record.totals.took_total / record.totals.attempts.max(1) as u32;
        let (kind, outcome, attempts) = (record.kind, record.outcome, record.totals.attempts);
        println!("{kind:<15}{outcome:<15}{attempts:>3} attempts, {average:>8.1?} on average");
    }
    fs::remove_dir_all(folder)?;
    Ok(())
}

/// Checks the ends of the jobs, in the order of `cms/jobs.json`.
fn check(queue: &Queue, jobs: &[JobRecord]) -> Anything {
    for job in jobs {
        let result = job.result.as_ref().map(|result| result.get());
        let end = result.or(job.error.as_deref()).unwrap_or_default();
        println!("{:>2} {:<14} {:<10} {end}", job.id, job.kind, job.state);
    }
    let [
        john,
        slow,
        nobody,
        image,
        logs,
        temp,
        backup,
        report,
        first,
        locked,
        missing,
        index,
        tomorrow,
    ] = jobs
    else {
        return Err("cms/jobs.json has other jobs".into());
    };
    for job in [
        john, slow, image, logs, temp, backup, report, first, locked, index,
    ] {
        assert_eq!(job.state, State::Completed);
    }
    for job in [nobody, missing] {
        assert_eq!((job.state, job.retries), (State::Failed, 0));
    }
    assert_eq!(tomorrow.state, State::Cancelled);
    assert!(slow.retries == 1 && locked.retries > 0);
    let began = queue.output::<SearchIndex>(index.id)?;
    assert!(index.crashes == 1 && began >= Some(150));

    let history = |kinds: &[EventKind], job| {
        let filter = EventFilter {
            kinds: kinds.to_vec(),
            job,
            ..EventFilter::default()
        };
        queue.events(&filter).map(|page| page.events)
    };
    let started = history(&[EventKind::Started], None)?;
    let started: Vec<_> = started.iter().filter_map(|event| event.job).collect();
    assert_eq!(started[..2], [backup.id, john.id], "by priority");
    for kind in NOTIFICATIONS {
        assert!(!history(&[kind], None)?.is_empty(), "{kind}");
    }
    println!("-- the history of job {}", index.id);
    for event in history(&[], Some(index.id))? {
        if event.kind != EventKind::Progress {
            println!("{} {}", event.at, event.kind);
        }
    }
    Ok(())
}

/// Adds the schedules of the CMS and of its plug-ins, runs one by hand, and removes one again.
fn schedule(queue: &Queue) -> Anything {
    let backup = json!({"what": "queue", "retention": {"keep_daily": 7, "keep_weekly": 4}});
    let backup = NewJob::new("backup")
        .payload(&backup)
        .with_options(usual("backup"));
    let nightly = Schedule::new("nightly-backup", "0 3 * * *", backup).timezone("Europe/Berlin");
    queue.add_schedule(nightly)?;
    for schedule in PLUGINS.iter().flat_map(|plugin| plugin.schedules()) {
        queue.add_schedule(schedule)?;
    }
    for schedule in queue.schedules()? {
        println!(
            "schedule {}, {}: next {:?}",
            schedule.name, schedule.rule, schedule.next_at
        );
    }
    let now = queue.run_schedule("nightly-backup")?;
    let of_plugin = Filter {
        schedule: Some("sitemap".to_owned()),
        states: vec![State::Completed],
        ..Filter::default()
    };
    wait_until(queue, || Ok(!queue.list(&of_plugin)?.is_empty()))?;
    queue.remove_schedule("sitemap")?;
    assert_eq!(
        queue.wait(&[now.id], Some(Duration::from_secs(60)))?[0].state,
        State::Completed
    );
    let left = queue.schedules()?;
    assert!(matches!(&left[..], [nightly] if nightly.name == "nightly-backup"));
    Ok(())
}

/// What the clients of the CMS are notified of.
const NOTIFICATIONS: [EventKind; 5] = [
    EventKind::Started,
    EventKind::Progress,
    EventKind::Completed,
    EventKind::Failed,
    EventKind::Retry,
];

/// Prints the notifications, from a thread that ends with the program.
fn notify(queue: Queue) {
    std::thread::spawn(move || -> jobq::Result<()> {
        let mut filter = EventFilter {
            kinds: NOTIFICATIONS.to_vec(),
            ..EventFilter::default()
        };
        let mut changes = queue.changes()?;
        loop {
            let page = queue.events(&filter)?;
            filter.since = page.next;
            for event in page.events {
                let data = event.data.as_ref().map_or(&b""[..], EventData::as_bytes);
                let (job, data) = (event.job.unwrap_or_default(), String::from_utf8_lossy(data));
                println!("{} {job} {data}", event.kind);
            }
            if page.at_end {
                changes.wait(Duration::from_secs(1))?;
            }
        }
    });
}

fn percent(job: &JobRecord) -> f64 {
    let progress = job.progress.as_ref();
    progress
        .and_then(|progress| progress.percent)
        .unwrap_or(0.0)
}

/// Drafts, an upload, and files of which every second one is old.
fn make_site(folder: &Path) -> Anything {
    for name in ["drafts", "uploads", "public", "logs", "tmp"] {
        fs::create_dir(folder.join(name))?;
    }
    for article in 1..=3 {
        fs::write(
            folder.join(format!("drafts/{article}.html")),
            "<h1>News</h1>",
        )?;
    }
    fs::write(folder.join("drafts/2.lock"), "")?;
    let picture = image::RgbImage::from_fn(1600, 1200, |x, y| image::Rgb([x as u8, y as u8, 128]));
    picture.save(folder.join("uploads/photo.png"))?;
    let month_ago = SystemTime::now() - Duration::from_secs(31 * 24 * 3600);
    for (name, written) in [
        ("logs/old.log", month_ago),
        ("logs/new.log", SystemTime::now()),
        ("tmp/old", month_ago),
        ("tmp/new", SystemTime::now()),
    ] {
        File::create(folder.join(name))?.set_modified(written)?;
    }
    Ok(())
}

/// It has no mailbox for nobody, and takes mail for slow when it is asked for the second time.
fn start_mail_server() -> std::io::Result<SmtpSink> {
    let was_asked = AtomicBool::new(false);
    SmtpSink::start(move |line| match line {
        _ if line.contains("nobody@") => "550 there is no such mailbox",
        _ if line.contains("slow@") && !was_asked.swap(true, Ordering::SeqCst) => {
            "451 try again later"
        }
        _ => "250 ok",
    })
}
