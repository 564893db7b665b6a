//! The built-in handlers: `group` is always there, each other is a cargo feature of its own.

#[cfg(feature = "sleep")]
pub mod built_in;
#[cfg(feature = "exec")]
pub mod exec;
#[cfg(feature = "sleep")]
pub mod sleep;
