//! The files of the page: they hold no data, need no token, and load nothing from elsewhere.

use std::sync::OnceLock;

use crate::digest::Digest;
use crate::web::head::Head;
use crate::web::page::{FILES, PageFile};
use crate::web::response::Response;

/// What the page may do: run and load its own files, and talk to this server.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
    base-uri 'none'; frame-ancestors 'none'; form-action 'none'";

/// The file at a path.
pub(crate) fn find(path: &str) -> Option<&'static PageFile> {
    FILES.iter().find(|file| file.path == path)
}

impl PageFile {
    /// The file, or that the client has it already.
    pub(crate) fn response(&self, head: &Head) -> Response {
        let tag = self.tag();
        let response = match head.header("if-none-match") == Some(&tag) {
            true => Response::empty(304),
            false => Response::of(200, self.media_type, self.bytes.to_vec()),
        };
        response
            .header("ETag", tag)
            .header("Content-Security-Policy", POLICY)
    }

    /// A mark of the content: a new version of jobq brings new files.
    fn tag(&self) -> String {
        static TAGS: OnceLock<Vec<String>> = OnceLock::new();
        let tags = TAGS.get_or_init(|| FILES.iter().map(|file| tag_of(file.bytes)).collect());
        let at = FILES.iter().position(|file| file.path == self.path);
        at.map(|at| tags[at].clone()).unwrap_or_default()
    }
}

fn tag_of(bytes: &[u8]) -> String {
    let mut digest = Digest::default();
    digest.update(bytes);
    format!("\"{digest}\"")
}
