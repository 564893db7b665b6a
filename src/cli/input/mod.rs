//! What is typed, piped or written in files, read into what the library takes.

pub(crate) mod batch;
pub(crate) mod config;
pub(crate) mod declared;
pub(crate) mod each;
pub(crate) mod limits;
pub(crate) mod literal_secrets;
pub(crate) mod origin;
pub(crate) mod payload;
pub(crate) mod selection;
pub(crate) mod values;
