//! The kind `browser`, in a real browser on a site of the test. Skipped where chromium-headless-shell is not installed.

mod failures;
mod pages;
mod processes;
mod site;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use jobq::handlers::browser::{BrowserJob, BrowserResult, BrowserSettings};
use jobq::handlers::built_in::BuiltIn;
use jobq::handlers::secrets::{SecretCommand, SecretRule, SecretSource, Secrets};
use jobq::{Backoff, Job, JobId, JobRecord, NewJob, Queue, Runner, State};
use serde_json::{Value, json};

use crate::support::place::{Scene, job};
use crate::support::{PATIENCE, wait_for};
use site::Site;

const PROGRAM: &str = "chromium-headless-shell";

/// The secrets `pw` and `printed`, which are for the host of the site.
const SECRET: &str = "open sesame";

/// A site, a queue, and a runner with a browser of its own.
struct Lab {
    site: Site,
    /// None when it was stopped.
    runner: Option<Runner>,
    queue: Queue,
    scene: Scene,
}

impl Lab {
    /// None where there is no browser.
    fn new() -> Option<Lab> {
        Lab::with(|_| {})
    }

    fn with(set: impl Fn(&mut BrowserSettings)) -> Option<Lab> {
        if !is_installed() {
            return None;
        }
        let scene = Scene::new();
        let mut settings = BrowserSettings::default();
        settings.no_sandbox = true;
        settings.headless_shell = Some(wrapper(scene.folder()));
        set(&mut settings);
        let queue = scene.open();
        fs::write(scene.file("pw"), SECRET).unwrap();
        fs::set_permissions(scene.file("pw"), PermissionsExt::from_mode(0o600)).unwrap();
        let mut rule = SecretRule::new(SecretSource::File(scene.file("pw")));
        rule.hosts = Some(vec!["127.0.0.1".to_owned()]);
        let mut secrets = Secrets::default();
        secrets.add("pw", rule);
        let mut command = SecretCommand::default();
        command.argv = ["echo", SECRET].map(str::to_owned).into();
        let mut rule = SecretRule::new(SecretSource::Command(command));
        rule.hosts = Some(vec!["127.0.0.1".to_owned()]);
        secrets.add("printed", rule);
        let runner = queue
            .runner()
            .workers(3)
            .data(secrets)
            .kind(BrowserJob::KIND, BuiltIn::<BrowserJob>::new(settings))
            .start()
            .unwrap();
        Some(Lab {
            site: Site::start(),
            runner: Some(runner),
            queue,
            scene,
        })
    }

    fn enqueue(&self, payload: &Value, retries: u32) -> JobId {
        let job = NewJob::new("browser").payload(payload).max_retries(retries);
        self.queue.enqueue(job.backoff(Backoff::None)).unwrap().id
    }

    fn wait(&self, id: JobId) -> JobRecord {
        wait_for(&format!("job {id} ends"), 2 * PATIENCE, || {
            Some(job(&self.queue, id)).filter(|job| job.state.is_final())
        })
    }

    fn run(&self, payload: &Value) -> BrowserResult {
        let job = self.wait(self.enqueue(payload, 0));
        assert_eq!(job.state, State::Completed, "{payload}: {:?}", job.error);
        serde_json::from_str(job.result.unwrap().get()).unwrap()
    }

    fn error(&self, payload: &Value) -> String {
        let job = self.wait(self.enqueue(payload, 0));
        assert_eq!(job.state, State::Failed, "{payload}: {job:?}");
        job.error.unwrap()
    }

    /// Opens a page of the site and does these things.
    fn visit(&self, path: &str, actions: Value) -> Value {
        json!({ "url": self.site.url(path), "actions": actions, "action_timeout_ms": 20_000 })
    }

    fn stop(&mut self) {
        if let Some(runner) = self.runner.take() {
            runner.stop().unwrap();
        }
    }

    fn starts(&self) -> usize {
        let starts = fs::read_to_string(self.scene.file("starts")).unwrap_or_default();
        starts.lines().count()
    }

    /// The processes of the browser: their ids and command lines.
    fn processes(&self) -> Vec<(i32, String)> {
        processes_of(self.scene.folder())
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.stop();
    }
}

pub(crate) fn is_installed() -> bool {
    let found = Command::new(PROGRAM).arg("--version").output();
    let is_installed = found.is_ok_and(|output| output.status.success());
    if !is_installed {
        eprintln!("skipped: {PROGRAM} is not installed");
    }
    is_installed
}

/// The browser under a name by which its processes are found; each start is noted.
pub(crate) fn wrapper(folder: &Path) -> PathBuf {
    let path = folder.join("browser");
    let (starts, folder) = (folder.join("starts"), folder.display());
    let script = format!(
        "#!/bin/sh\necho start >> '{}'\nexec {PROGRAM} '--jobq-test={folder}' \"$@\"\n",
        starts.display()
    );
    fs::write(&path, script).unwrap();
    fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    path
}

/// Whoever has the mark of this folder in its command line, and what is in the same session.
pub(crate) fn processes_of(folder: &Path) -> Vec<(i32, String)> {
    let mark = format!("--jobq-test={}", folder.display());
    let mut all = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<i32>() else {
            continue;
        };
        let read = |name: &str| fs::read(entry.path().join(name)).unwrap_or_default();
        let line = String::from_utf8_lossy(&read("cmdline")).replace('\0', " ");
        let stat = String::from_utf8_lossy(&read("stat")).into_owned();
        let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
        let session = fields.split_ascii_whitespace().nth(3).unwrap_or_default();
        all.push((pid, session.to_owned(), line));
    }
    let marked = all.iter().filter(|(_, _, line)| line.contains(&mark));
    let sessions: Vec<String> = marked.map(|(_, session, _)| session.clone()).collect();
    all.retain(|(_, session, line)| sessions.contains(session) && !line.is_empty());
    all.into_iter().map(|(pid, _, line)| (pid, line)).collect()
}

/// The profile folder that a browser has in its command line.
pub(crate) fn profile_of(processes: &[(i32, String)]) -> PathBuf {
    let option = "--user-data-dir=";
    let mut words = processes.iter().flat_map(|(_, line)| line.split(' '));
    let profile = words.find_map(|word| word.strip_prefix(option)).unwrap();
    Path::new(profile).parent().unwrap().to_owned()
}
