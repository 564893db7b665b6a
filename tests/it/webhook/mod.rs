//! The kind `webhook`, with servers that behave and servers that do not.

mod cancel;
mod failures;
mod keep_alive;
mod payloads;
mod redirects;
mod requests;
mod responses;
mod rules;
mod signatures;
mod tls;

use jobq::handlers::built_in::BuiltIn;
use jobq::handlers::secrets::{SecretRule, SecretSource, Secrets};
use jobq::handlers::webhook::{Webhook, WebhookSettings};
use jobq::{Job, JobRecord, NewJob, RunnerBuilder, State};
use serde_json::{Value, json};

use crate::support::place::Scene;

/// A queue, and a runner with the handler and a few secrets.
pub(crate) struct Hooks {
    pub(crate) scene: Scene,
    pub(crate) settings: WebhookSettings,
    secrets: Secrets,
}

impl Hooks {
    pub(crate) fn new() -> Hooks {
        Hooks {
            scene: Scene::new(),
            settings: WebhookSettings::default(),
            secrets: Secrets::default(),
        }
    }

    /// With these settings, as the config file has them.
    pub(crate) fn with(settings: Value) -> Hooks {
        Hooks {
            settings: serde_json::from_value(settings).unwrap(),
            ..Hooks::new()
        }
    }

    /// Adds a secret; with the hosts that it may be sent to.
    pub(crate) fn secret(&mut self, name: &str, value: &str, hosts: Option<&str>) {
        use std::os::unix::fs::PermissionsExt;

        let path = self.scene.file(name);
        std::fs::write(&path, value).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        let mut rule = SecretRule::new(SecretSource::File(path));
        rule.hosts = hosts.map(|host| vec![host.to_owned()]);
        self.secrets.add(name, rule);
    }

    pub(crate) fn runner(&self) -> RunnerBuilder {
        let handler = BuiltIn::<Webhook>::new(self.settings.clone());
        let runner = self.scene.open().runner().data(self.secrets.clone());
        runner.kind(Webhook::KIND, handler)
    }

    /// A first attempt.
    pub(crate) fn attempt(&self, payload: &Value) -> JobRecord {
        let queue = self.scene.open();
        let job = NewJob::new(Webhook::KIND).payload(payload);
        let id = queue.enqueue(job).unwrap().id;
        self.runner().run_due().unwrap();
        queue.get(id).unwrap().unwrap()
    }

    pub(crate) fn result(&self, payload: &Value) -> Value {
        let job = self.attempt(payload);
        assert_eq!(job.state, State::Completed, "{job:?}");
        serde_json::from_str(job.result.unwrap().get()).unwrap()
    }

    /// The error of an attempt after which the job has this state.
    fn error(&self, payload: &Value, state: State) -> String {
        let job = self.attempt(payload);
        assert_eq!(job.state, state, "{job:?}");
        job.error.unwrap()
    }

    /// The error of an attempt that is the last one.
    pub(crate) fn fails(&self, payload: &Value) -> String {
        self.error(payload, State::Failed)
    }

    /// The error of an attempt that is followed by another.
    pub(crate) fn retries(&self, payload: &Value) -> String {
        self.error(payload, State::Scheduled)
    }
}

/// A payload with more fields.
pub(crate) fn with(url: &str, fields: Value) -> Value {
    let mut payload = json!({ "url": url });
    let all = payload.as_object_mut().unwrap();
    all.extend(fields.as_object().unwrap().clone());
    payload
}
