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
    #[cfg(feature = "sleep")]
    BuiltInKind::of::<crate::handlers::sleep::Sleep>(),
    #[cfg(feature = "webhook")]
    BuiltInKind::of::<crate::handlers::webhook::Webhook>(),
    #[cfg(feature = "webhook")]
    BuiltInKind::of::<crate::handlers::webhook::Webhook>().also("http"),
];

impl BuiltInKind {
    /// The kind of this name, if it is built in.
    pub fn named(name: &str) -> Option<&'static BuiltInKind> {
        BUILT_IN.iter().find(|kind| kind.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
