//! A request that has come.

use crate::web::head::Head;
use crate::web::stream::ClientStream;

/// A request whose head is there.
pub(crate) struct IncomingRequest {
    pub(crate) stream: ClientStream,
    pub(crate) head: Head,
    /// What has come after the head.
    pub(crate) rest: Vec<u8>,
}
