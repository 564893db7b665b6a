//! What the built-in handlers share: a typed payload that is checked when it is enqueued and before it runs,
//! and settings from the config file.

use std::fmt;
use std::marker::PhantomData;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use serde::de::value::{Error as NoValue, SeqAccessDeserializer};
use serde::de::{DeserializeOwned, Deserializer, Error as _, IntoDeserializer, SeqAccess, Visitor};

use crate::error::Kind;
use crate::model::job::{Job, JobOptions};
use crate::model::json;
use crate::model::outcome::Outcome;
use crate::runner::builder::RunnerBuilder;
use crate::runner::context::Context;
use crate::runner::handler::{Failure, Handler, result_json};
use crate::{Error, Result};

/// A typed job with a handler that comes with jobq.
pub trait BuiltInJob: Job + 'static {
    /// What the config file may say of the handler, in `[kinds.KIND.settings]`.
    type Settings: DeserializeOwned + Send + Sync;
    /// The text of `jobq help kind KIND`.
    const HELP: &'static str;
    /// Whether its payloads may name secrets where they could have them.
    const TAKES_SECRETS: bool = false;

    /// The options of its jobs where neither the job nor the config file gives them.
    fn defaults() -> JobOptions {
        JobOptions::default()
    }

    /// Takes relative paths of the settings from this folder, that of the config file.
    #[must_use]
    fn relative_to(settings: Self::Settings, folder: &Path) -> Self::Settings;

    /// Checks what the types of the fields do not.
    ///
    /// # Errors
    /// What is wrong with the payload, to complete "a payload of KIND:".
    fn check(&self) -> Result<()> {
        Ok(())
    }

    /// Does the work of one attempt.
    ///
    /// # Errors
    /// As for every typed handler: [`Failure`] says whether it is tried again.
    fn run(
        self,
        settings: &Self::Settings,
        ctx: &Context,
    ) -> std::result::Result<Self::Output, Failure>;
}

/// For kinds without settings.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoSettings {}

/// The handler of a built-in kind.
///
/// ```
/// use jobq::Job;
/// use jobq::handlers::built_in::{BuiltIn, NoSettings};
/// use jobq::handlers::sleep::Sleep;
///
/// # let folder = tempfile::tempdir()?;
/// # let queue = jobq::Queue::open(folder.path().join("jobs.db"))?;
/// let runner = queue.runner().kind(Sleep::KIND, BuiltIn::<Sleep>::new(NoSettings {}));
/// # let _ = runner;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct BuiltIn<J: BuiltInJob> {
    settings: J::Settings,
}

impl<J: BuiltInJob> BuiltIn<J> {
    /// With these settings.
    pub fn new(settings: J::Settings) -> BuiltIn<J> {
        BuiltIn { settings }
    }

    /// With settings as JSON: `{}` for the defaults. Relative paths in them begin at `folder`; an empty path is the
    /// folder where the process was started.
    ///
    /// # Errors
    /// What is wrong with the settings.
    pub fn from_config(settings: &str, folder: &Path) -> Result<BuiltIn<J>> {
        let settings = parse("the settings", settings)
            .map_err(|error| error.context(format!("kind {}", J::KIND)))?;
        Ok(BuiltIn::new(J::relative_to(settings, folder)))
    }

    /// The settings.
    pub fn settings(&self) -> &J::Settings {
        &self.settings
    }
}

impl<J: BuiltInJob> Handler for BuiltIn<J> {
    fn run(&self, ctx: &Context) -> Outcome {
        // Another try would read the same payload.
        let job: J = match read(ctx.payload()) {
            Ok(job) => job,
            Err(error) => return Failure::permanent(error).into(),
        };
        match job.run(&self.settings, ctx) {
            Ok(output) => result_json(&output).map_or_else(Outcome::from, Outcome::Done),
            Err(failure) => failure.into(),
        }
    }
}

/// A kind that comes with jobq, for those who enqueue its jobs and start its runners.
#[derive(Clone, Copy, Debug)]
pub struct BuiltInKind {
    /// The kind.
    pub name: &'static str,
    /// The kind that has its settings: itself, unless it is a second name of that kind.
    pub settings_of: &'static str,
    /// The text of `jobq help kind KIND`.
    pub help: &'static str,
    /// Whether its payloads may name secrets where they could have them.
    pub takes_secrets: bool,
    fields: fn() -> &'static [&'static str],
    defaults: fn() -> JobOptions,
    check: fn(&str) -> Result<()>,
    add: fn(RunnerBuilder, (&str, &Path), &'static str) -> Result<RunnerBuilder>,
}

impl BuiltInKind {
    pub(crate) const fn of<J: BuiltInJob>() -> BuiltInKind {
        BuiltInKind {
            name: J::KIND,
            settings_of: J::KIND,
            help: J::HELP,
            takes_secrets: J::TAKES_SECRETS,
            fields: field_names::<J>,
            defaults: J::defaults,
            check: |payload| read::<J>(payload).map(drop),
            add: |builder, (settings, folder), name| {
                Ok(builder.kind(name, BuiltIn::<J>::from_config(settings, folder)?))
            },
        }
    }

    /// The same kind under a second name.
    #[allow(dead_code, reason = "not every kind has a second name")]
    pub(crate) const fn also(self, name: &'static str) -> BuiltInKind {
        BuiltInKind { name, ..self }
    }

    /// The names of its payload's fields.
    pub fn fields(&self) -> &'static [&'static str] {
        (self.fields)()
    }

    /// The options of its jobs where neither the job nor the config file gives them.
    pub fn defaults(&self) -> JobOptions {
        (self.defaults)()
    }

    /// Checks a payload.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self, payload: &str) -> Result<()> {
        (self.check)(payload)
    }

    /// Gives a runner the handler, with settings as [`BuiltIn::from_config`] reads them.
    ///
    /// # Errors
    /// What is wrong with the settings.
    pub fn add_to(
        &self,
        runner: RunnerBuilder,
        settings: &str,
        folder: &Path,
    ) -> Result<RunnerBuilder> {
        (self.add)(runner, (settings, folder), self.name)
    }
}

/// When a full disk is tried again.
const AFTER_FULL_DISK: Duration = Duration::from_secs(600);

/// What an error means for an attempt that may have been told to stop.
#[allow(dead_code, reason = "not every kind has files")]
pub(crate) fn failed(ctx: &Context, error: Error) -> Failure {
    match ctx.is_cancelled() {
        true => Failure::cancelled(),
        false => failure_of(error),
    }
}

/// What an error means for an attempt: it is tried again if the same may work later.
#[allow(dead_code, reason = "not every kind has files")]
pub(crate) fn failure_of(error: Error) -> Failure {
    match error.kind() {
        Kind::Full => Failure::retry_after(error, AFTER_FULL_DISK),
        _ if error.may_pass() => Failure::retry(error),
        _ => Failure::permanent(error),
    }
}

/// A field that is one text or a list of them.
#[allow(dead_code, reason = "not every kind has such a field")]
pub(crate) fn one_or_more<'de, D: Deserializer<'de>, T: DeserializeOwned>(
    value: D,
) -> std::result::Result<Vec<T>, D::Error> {
    value.deserialize_any(OneOrMore(PhantomData))
}

struct OneOrMore<T>(PhantomData<T>);

impl<'de, T: DeserializeOwned> Visitor<'de> for OneOrMore<T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text or a list of texts")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> std::result::Result<Vec<T>, E> {
        Ok(vec![T::deserialize(text.into_deserializer())?])
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> std::result::Result<Vec<T>, A::Error> {
        Vec::deserialize(SeqAccessDeserializer::new(list))
    }
}

/// A field that is a duration as people write it.
#[allow(dead_code, reason = "not every kind has durations")]
pub(crate) mod written_duration {
    use std::time::Duration;

    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::model::duration::parse_duration;

    pub(crate) fn serialize<S: Serializer>(value: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&format_args!("{}ms", value.as_millis()))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(value: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(value)?;
        parse_duration(&text)
            .map_err(|why| D::Error::custom(format_args!("invalid duration '{text}': {why}")))
    }
}

fn read<J: BuiltInJob>(payload: &str) -> Result<J> {
    let what = format!("a payload of {}", J::KIND);
    let see = || format!("`jobq help kind {}` describes it", J::KIND);
    let job: J = parse(&what, payload).map_err(|error| error.with_hint(see()))?;
    job.check().map_err(|error| error.context(what))?;
    Ok(job)
}

fn parse<T: DeserializeOwned>(what: &str, text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|error| {
        let why = match json::check(text) {
            Ok(()) => json::explain(text, &error, |text| {
                serde_json::from_str::<T>(text).map(drop)
            }),
            Err(error) => error.to_string(),
        };
        Error::invalid(format!("{what}: {why}"))
    })
}

/// The names that serde knows the fields of a struct by.
fn field_names<T: DeserializeOwned>() -> &'static [&'static str] {
    let mut names: &'static [&'static str] = &[];
    // It fails in any case: there is no value.
    let _no_value = T::deserialize(FieldNames(&mut names));
    names
}

/// Reads the names of a struct's fields in place of a value.
struct FieldNames<'a>(&'a mut &'static [&'static str]);

impl<'de> Deserializer<'de> for FieldNames<'_> {
    type Error = NoValue;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        _: V,
    ) -> std::result::Result<V::Value, NoValue> {
        *self.0 = fields;
        Err(NoValue::custom("only the names were read"))
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> std::result::Result<V::Value, NoValue> {
        Err(NoValue::custom("it is not a struct"))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit
        unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}
