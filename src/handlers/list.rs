//! The list of the built-in kinds.

use crate::handlers::built_in::BuiltInKind;

/// The kinds that are compiled in.
pub const BUILT_IN: &[BuiltInKind] = &[
    #[cfg(feature = "backup")]
    BuiltInKind::of::<crate::handlers::backup::Backup>(),
    #[cfg(feature = "browser")]
    BuiltInKind::of::<crate::handlers::browser::BrowserJob>(),
    #[cfg(feature = "cleanup")]
    BuiltInKind::of::<crate::handlers::cleanup::Cleanup>(),
    #[cfg(feature = "data-processing")]
    BuiltInKind::of::<crate::handlers::data_processing::DataProcessing>(),
    #[cfg(feature = "email")]
    BuiltInKind::of::<crate::handlers::email::Email>(),
    #[cfg(feature = "image-process")]
    BuiltInKind::of::<crate::handlers::image_process::ImageProcess>(),
    #[cfg(feature = "report")]
    BuiltInKind::of::<crate::handlers::report::ReportJob>(),
    #[cfg(feature = "sleep")]
    BuiltInKind::of::<crate::handlers::sleep::Sleep>(),
    #[cfg(feature = "webhook")]
    BuiltInKind::of::<crate::handlers::webhook::Webhook>(),
    #[cfg(feature = "webhook")]
    BuiltInKind::of::<crate::handlers::webhook::Webhook>().also("http"),
];

/// All kinds that come with jobq, and the cargo feature that each is in a build with.
const FEATURES: [(&str, &str); 10] = [
    ("backup", "backup"),
    ("browser", "browser"),
    ("cleanup", "cleanup"),
    ("data_processing", "data-processing"),
    ("email", "email"),
    ("http", "webhook"),
    ("image_process", "image-process"),
    ("report", "report"),
    ("sleep", "sleep"),
    ("webhook", "webhook"),
];

impl BuiltInKind {
    /// The kind of this name, if it is built in.
    pub fn named(name: &str) -> Option<&'static BuiltInKind> {
        BUILT_IN.iter().find(|kind| kind.name == name)
    }

    /// The cargo feature of a kind that comes with jobq, but not with this build.
    pub fn missing_feature(name: &str) -> Option<&'static str> {
        let of_jobq = FEATURES.iter().find(|(kind, _)| *kind == name);
        let is_missing = BuiltInKind::named(name).is_none();
        of_jobq.filter(|_| is_missing).map(|(_, feature)| *feature)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_built_in_kind_has_a_feature_and_no_kind_of_others() {
        for kind in BUILT_IN {
            assert!(FEATURES.iter().any(|(name, _)| *name == kind.name));
            assert_eq!(BuiltInKind::missing_feature(kind.name), None);
        }
        let missing = FEATURES.map(|(name, _)| BuiltInKind::missing_feature(name).is_some());
        let missing = missing.iter().filter(|is_missing| **is_missing).count();
        assert_eq!(missing, FEATURES.len() - BUILT_IN.len());
        assert_eq!(BuiltInKind::missing_feature("thumbnail"), None);
    }

    #[test]
    fn a_secret_for_a_kind_is_for_its_second_name() {
        use crate::handlers::secrets::SECOND_NAMES;

        for kind in BUILT_IN.iter().filter(|kind| kind.name != kind.settings_of) {
            assert!(SECOND_NAMES.contains(&(kind.name, kind.settings_of)));
        }
    }

    #[test]
    fn every_built_in_kind_has_fields_and_an_example_that_fits() {
        for kind in BUILT_IN {
            assert!(!kind.fields().is_empty(), "{}", kind.name);
            // The example is a line `jobq enqueue --kind KIND --payload '…'`.
            let begin = format!("jobq enqueue --kind {} --payload '", kind.name);
            let (_, example) = kind.help.split_once(&begin).unwrap();
            let (payload, _) = example.split_once('\'').unwrap();
            kind.check(payload).unwrap();
            for field in kind.fields() {
                assert!(kind.help.contains(field), "{}: {field}", kind.name);
            }
        }
    }
}
