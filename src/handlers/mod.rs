//! The built-in handlers, each a cargo feature of its own.

#[cfg(feature = "exec")]
pub mod exec;
#[cfg(feature = "sleep")]
pub mod sleep;
