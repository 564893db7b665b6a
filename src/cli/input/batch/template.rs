//! The jobs of `--each`: a command with placeholders, as GNU parallel has them, and a job for each item.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::mem;
use std::os::unix::ffi::OsStrExt;

use jobq::api::job_request::{CommandRequest, JobRequest, Work};
use jobq::digest::Digest;
use jobq::handlers::exec::Program;
use jobq::{JobOptions, UniqueKey};

use crate::cli::exit::{CliError, CliResult};
use crate::cli::input::payload::as_text;

/// A command that becomes a job for each item of a list. Placeholders stand in its arguments and its folder,
/// in the keys, and in the values of tags.
#[derive(Clone, Debug)]
pub(crate) struct CommandTemplate {
    argv: Vec<String>,
    /// All but its arguments.
    command: CommandRequest,
    options: JobOptions,
    separator: u8,
}

/// A line of the list, or what stands before a NUL.
#[derive(Clone, Copy, Debug)]
struct Item<'a> {
    text: &'a str,
    /// Counted from 1.
    number: u64,
}

/// What stands for a placeholder.
type ItemPart = fn(Item<'_>) -> Cow<'_, str>;

/// None is in another, and no two can overlap.
const PLACEHOLDERS: [(&str, ItemPart); 6] = [
    ("{}", |item| item.text.into()),
    ("{.}", |item| without_extension(item.text).into()),
    ("{/}", |item| last_component(item.text).into()),
    ("{//}", |item| folder(item.text).into()),
    ("{/.}", |item| {
        without_extension(last_component(item.text)).into()
    }),
    ("{#}", |item| item.number.to_string().into()),
];

impl CommandTemplate {
    /// A command without a placeholder gets the item as its last argument. `separator` ends an item.
    pub(crate) fn new(request: JobRequest, separator: u8) -> CliResult<CommandTemplate> {
        let Work::Exec(mut command) = request.work else {
            return Err(CliError::usage(
                "--each goes with a command, not with --kind",
            ));
        };
        let Program::Argv(argv) = &mut command.program else {
            return Err(
                CliError::usage("--each goes with a command, not with --shell").with_hint(
                    "give the item to a script as an argument: -- sh -c 'sort \"$1\" | uniq' sh {}",
                ),
            );
        };
        let mut argv = mem::take(argv);
        if argv.is_empty() {
            return Err(CliError::usage("--each goes with a command")
                .with_hint("it stands after two dashes: --each -- CMD {}"));
        }
        if !argv.iter().any(|argument| has_placeholder(argument)) {
            argv.push("{}".to_owned());
        }
        match &request.options.unique {
            Some(UniqueKey::Named(key)) if !has_placeholder(key) => Err(CliError::usage(format!(
                "all jobs would have the unique key '{key}', so only one would be added"
            ))
            .with_hint("put a placeholder into it: --unique 'thumb-{}'")),
            _ => Ok(CommandTemplate {
                argv,
                command,
                options: request.options,
                separator,
            }),
        }
    }

    pub(super) fn separator(&self) -> u8 {
        self.separator
    }

    /// The job of an item, which comes with what ends it. The error does not name the item.
    pub(super) fn request(&self, item: &[u8], number: u64) -> CliResult<JobRequest> {
        let item = item.strip_suffix(&[self.separator]).unwrap_or(item);
        let text = as_text("it", OsStr::from_bytes(item))?;
        if text.contains('\0') {
            return Err(CliError::usage("it has a NUL character in it")
                .with_hint("--null is for items that end with NUL"));
        }
        let item = Item {
            text: &text,
            number,
        };
        let fill = |text: &String| fill(text, item);
        let mut command = self.command.clone();
        command.program = Program::Argv(self.argv.iter().map(fill).collect());
        command.cwd = command.cwd.as_ref().map(fill);
        let mut options = self.options.clone();
        options.key = options.key.as_ref().map(fill);
        if let Some(UniqueKey::Named(key)) = &mut options.unique {
            *key = fill(key);
        }
        for value in options.tags.values_mut() {
            *value = fill(value);
        }
        Ok(JobRequest {
            work: Work::Exec(command),
            options,
        })
    }

    /// Adds its arguments and options, so that a batch is known by them as well as by its items. Options that
    /// are not given add nothing: later versions may have more of them.
    pub(super) fn add_to(&self, digest: &mut Digest) -> CliResult<()> {
        for argument in &self.argv {
            digest.update(argument.as_bytes());
            digest.update(b"\0");
        }
        let options = serde_json::to_value(&self.options)
            .map_err(|error| CliError::failed(format!("the options of --each: {error}")))?;
        for (name, value) in options.as_object().into_iter().flatten() {
            if !value.is_null() {
                digest.update(format!("{name}={value}\0").as_bytes());
            }
        }
        Ok(())
    }
}

fn has_placeholder(text: &str) -> bool {
    PLACEHOLDERS.iter().any(|(known, _)| text.contains(known))
}

/// The text with parts of the item in place of its placeholders. The item's own braces stay.
fn fill(text: &str, item: Item<'_>) -> String {
    let mut filled = String::with_capacity(text.len() + item.text.len());
    let mut rest = text;
    while let Some(open) = rest.find('{') {
        filled.push_str(&rest[..open]);
        rest = &rest[open..];
        let mut known = PLACEHOLDERS.iter();
        let length = match known.find(|(known, _)| rest.starts_with(known)) {
            Some((placeholder, part)) => {
                filled.push_str(&part(item));
                placeholder.len()
            }
            None => {
                filled.push('{');
                1
            }
        };
        rest = &rest[length..];
    }
    filled.push_str(rest);
    filled
}

/// An extension begins at the last dot of the name, also where that is its first character or its last.
fn without_extension(path: &str) -> &str {
    match path.rsplit_once('.') {
        Some((before, extension)) if !extension.contains('/') => before,
        _ => path,
    }
}

/// Nothing of a path that ends with a slash.
fn last_component(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, last)| last)
}

/// As `dirname` has it.
fn folder(path: &str) -> &str {
    let Some((folder, _)) = path.trim_end_matches('/').rsplit_once('/') else {
        let is_root = path.starts_with('/');
        return if is_root { "/" } else { "." };
    };
    match folder.trim_end_matches('/') {
        "" => "/",
        folder => folder,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::cli::exit::Exit;

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    fn template(argv: &[&str], options: JobOptions) -> CliResult<CommandTemplate> {
        let command = CommandRequest::new(Program::Argv(words(argv)));
        let request = JobRequest {
            work: Work::Exec(command),
            options,
        };
        CommandTemplate::new(request, b'\n')
    }

    fn argv(template: &CommandTemplate, item: &[u8], number: u64) -> Vec<String> {
        let request = template.request(item, number).unwrap();
        let Work::Exec(CommandRequest {
            program: Program::Argv(argv),
            ..
        }) = request.work
        else {
            panic!("no argv: {:?}", request.work);
        };
        argv
    }

    /// The parts of an item in the order of the placeholders.
    fn parts(text: &str) -> [String; 6] {
        let item = Item { text, number: 7 };
        PLACEHOLDERS.map(|(_, part)| part(item).into_owned())
    }

    #[test]
    fn placeholders_are_those_of_gnu_parallel() {
        for (item, stem, name, folder, short) in [
            ("a/b.tar.gz", "a/b.tar", "b.tar.gz", "a", "b.tar"),
            ("cat.jpg", "cat", "cat.jpg", ".", "cat"),
            ("/etc/fstab", "/etc/fstab", "fstab", "/etc", "fstab"),
            ("/fstab", "/fstab", "fstab", "/", "fstab"),
            ("v1.2/README", "v1.2/README", "README", "v1.2", "README"),
            ("a/.bashrc", "a/", ".bashrc", "a", ""),
            ("end.", "end", "end.", ".", "end"),
            ("a/b/", "a/b/", "", "a", ""),
            ("a//b", "a//b", "b", "a", "b"),
            ("/", "/", "", "/", ""),
            ("", "", "", ".", ""),
            ("..", ".", "..", ".", "."),
            ("a\n.b/c\n.d", "a\n.b/c\n", "c\n.d", "a\n.b", "c\n"),
        ] {
            let expected = [item, stem, name, folder, short, "7"];
            assert_eq!(parts(item), expected, "{item:?}");
        }
    }

    #[test]
    fn whole_placeholders_are_replaced_and_items_stay_as_they_are() {
        let item = Item {
            text: "d/{}{.}.x",
            number: 12,
        };
        for (text, filled) in [
            ("{}", "d/{}{.}.x"),
            ("{{}}", "{d/{}{.}.x}"),
            ("{/.}-{#}.png", "{}{.}-12.png"),
            ("{//}{//}", "dd"),
            ("{ } {/a} {", "{ } {/a} {"),
            ("{.", "{."),
            ("\u{e4}{#}\u{e4}", "\u{e4}12\u{e4}"),
            ("", ""),
        ] {
            assert_eq!(fill(text, item), filled, "{text}");
        }
    }

    #[test]
    fn without_a_placeholder_the_item_is_the_last_argument() {
        for (given, made) in [
            (&["gzip", "-9"][..], &["gzip", "-9", "a b"][..]),
            (&["cp", "{}", "{}.old"], &["cp", "a b", "a b.old"]),
            (&["echo", "{#}"], &["echo", "3"]),
            (&["{}", "-v"], &["a b", "-v"]),
        ] {
            let template = template(given, JobOptions::default()).unwrap();
            assert_eq!(argv(&template, b"a b\n", 3), made);
        }
    }

    #[test]
    fn an_item_is_all_before_its_end() {
        let template = template(&["echo"], JobOptions::default()).unwrap();
        for (line, item) in [
            (&b" a \r\n"[..], " a \r"),
            (b"a", "a"),
            (b"\n", ""),
            ("\u{feff}\t".as_bytes(), "\u{feff}\t"),
        ] {
            assert_eq!(argv(&template, line, 1), ["echo", item]);
        }
        for (line, why) in [
            (&b"caf\xe9\n"[..], "not UTF-8: \"caf\\xE9\""),
            (b"a\0b\n", "NUL"),
        ] {
            let error = template.request(line, 1).unwrap_err();
            assert_eq!(error.exit(), Exit::Usage);
            assert!(error.message().contains(why), "{}", error.message());
        }
    }

    #[test]
    fn keys_tags_and_the_folder_have_placeholders_too() {
        let options = JobOptions {
            unique: Some(UniqueKey::Named("thumb-{}".to_owned())),
            key: Some("{//}".to_owned()),
            tags: [("{}".to_owned(), "{/.}".to_owned())].into(),
            tenant: Some("{}".to_owned()),
            ..JobOptions::default()
        };
        let mut template = template(&["convert"], options).unwrap();
        template.command.cwd = Some("{//}/small".to_owned());
        let request = template.request(b"in/cat.jpg\n", 1).unwrap();
        let options = request.options;
        let unique = UniqueKey::Named("thumb-in/cat.jpg".to_owned());
        assert_eq!(options.unique, Some(unique));
        assert_eq!(options.key.as_deref(), Some("in"));
        assert_eq!(options.tags["{}"], "cat");
        assert_eq!(options.tenant.as_deref(), Some("{}"));
        let Work::Exec(command) = request.work else {
            panic!("{:?}", request.work);
        };
        assert_eq!(command.cwd.as_deref(), Some("in/small"));
    }

    #[test]
    fn what_makes_no_sense_for_many_is_refused() {
        let one_key = JobOptions {
            unique: Some(UniqueKey::Named("all".to_owned())),
            ..JobOptions::default()
        };
        let by_payload = JobOptions {
            unique: Some(UniqueKey::KindAndPayload),
            ..JobOptions::default()
        };
        assert!(template(&["ls"], by_payload).is_ok());
        let request = |work| JobRequest {
            work,
            options: JobOptions::default(),
        };
        let shell = CommandRequest::new(Program::Shell("ls {}".to_owned()));
        let kind = Work::Kind {
            kind: "k".to_owned(),
            payload: "null".to_owned(),
        };
        for (refused, why) in [
            (template(&["ls"], one_key), "unique key 'all'"),
            (template(&[], JobOptions::default()), "goes with a command"),
            (
                CommandTemplate::new(request(Work::Exec(shell)), b'\n'),
                "--shell",
            ),
            (CommandTemplate::new(request(kind), b'\n'), "--kind"),
        ] {
            let error = refused.unwrap_err();
            assert_eq!(error.exit(), Exit::Usage);
            assert!(error.message().contains(why), "{}", error.message());
        }
    }

    #[test]
    fn a_batch_is_known_by_its_command_and_the_options_given() {
        let digest = |argv: &[&str], max_retries| {
            let options = JobOptions {
                max_retries,
                ..JobOptions::default()
            };
            let mut digest = Digest::new();
            let added = template(argv, options).unwrap().add_to(&mut digest);
            added.unwrap();
            digest
        };
        let one = digest(&["cp", "{}", "x"], None);
        assert_eq!(one, digest(&["cp", "{}", "x"], None));
        assert_ne!(one, digest(&["cp", "{}", "x"], Some(1)));
        assert_ne!(one, digest(&["cp", "{}x"], None));
        // Files remember it: it must not change.
        let known = digest(&["true"], Some(1)).to_string();
        assert_eq!(known, "fnv1a128:29222d3ac9643b5f7465a05bda5122e9:26");
    }

    /// `s:\.[^/.]*$::` of GNU parallel: from the first place where it fits, if there is one.
    fn parallel_stem(text: &str) -> &str {
        let fits = |at: &usize| {
            let rest = text[*at..].strip_prefix('.');
            rest.is_some_and(|rest| !rest.contains(['/', '.']))
        };
        let mut places = text.char_indices().map(|(at, _)| at);
        places.find(fits).map_or(text, |at| &text[..at])
    }

    /// `dirname` of Perl's `File::Basename`, step by step.
    fn parallel_folder(text: &str) -> String {
        let split = |text: &str| {
            let at = text.rfind('/').map_or(0, |slash| slash + 1);
            (text[..at].to_owned(), text[at..].to_owned())
        };
        let strip = |text: String| match text.trim_end_matches('/') {
            "" if text.is_empty() => "./".to_owned(),
            "" => "/".to_owned(),
            stripped => stripped.to_owned(),
        };
        let (folder, name) = split(text);
        let folder = strip(folder);
        let folder = match name.is_empty() {
            true => strip(split(&folder).0),
            false => folder,
        };
        match &*folder {
            "./" => ".".to_owned(),
            _ => folder,
        }
    }

    proptest! {
        #[test]
        fn parts_follow_the_rules_of_gnu_parallel(text in "[ab./{}#\n\u{e9}]{0,12}") {
            let name = text.split('/').next_back().unwrap();
            let expected = [
                text.clone(),
                parallel_stem(&text).to_owned(),
                name.to_owned(),
                parallel_folder(&text),
                parallel_stem(name).to_owned(),
                "7".to_owned(),
            ];
            prop_assert_eq!(parts(&text), expected);
        }

        #[test]
        fn a_text_is_filled_piece_by_piece(
            pieces in prop::collection::vec((0..6_usize, "[^{}]{0,3}"), 0..6),
            text in "[{}./#a]{0,8}",
        ) {
            let parts = parts(&text);
            let joined = |values: [&str; 6]| -> String {
                let pieces = pieces.iter();
                pieces.map(|(at, after)| format!("{}{after}", values[*at])).collect()
            };
            let template = joined(PLACEHOLDERS.map(|(known, _)| known));
            let filled = fill(&template, Item { text: &text, number: 7 });
            prop_assert_eq!(filled, joined(parts.each_ref().map(|part| &**part)));
        }
    }
}
