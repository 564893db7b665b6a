//! The built-in handlers: `group` is always there, each other is a cargo feature of its own.

#[cfg(any(feature = "cleanup", feature = "sleep"))]
pub mod built_in;
#[cfg(feature = "cleanup")]
pub mod cleanup;
#[cfg(feature = "exec")]
pub mod exec;
#[cfg(any(feature = "cleanup", feature = "sleep"))]
mod list;
#[cfg(feature = "sleep")]
pub mod sleep;

#[cfg(any(feature = "cleanup", feature = "sleep"))]
pub use list::BUILT_IN;
