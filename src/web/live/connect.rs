//! From a request to a socket.

use std::io::Write;
use std::sync::Arc;

use crate::web::head::Head;
use crate::web::incoming::IncomingRequest;
use crate::web::live::handshake::Handshake;
use crate::web::live::service::SocketPlace;
use crate::web::live::socket::LiveGrant;
use crate::web::problem::Problem;
use crate::web::response::{Response, WriteHow};
use crate::web::state::ServerState;

/// `GET /live`: takes a connection over until it ends. Host and origin were checked; the token comes as the first
/// message, since a browser cannot send it in a header.
pub(crate) fn connect(state: &Arc<ServerState>, work: IncomingRequest) {
    let IncomingRequest { stream, head, rest } = work;
    let (handshake, place) = match admit(state, &head) {
        Ok(admitted) => admitted,
        Err(problem) => {
            let how = WriteHow {
                is_1_1: head.is_1_1,
                is_head: false,
                keeps_alive: false,
            };
            // The client may have gone.
            let _ = Response::from(problem).write(&stream, how);
            return;
        }
    };
    let response = handshake.response();
    let is_upgraded = (&mut &stream).write_all(response.as_bytes()).is_ok();
    if is_upgraded && stream.set_nonblocking(true).is_ok() {
        place.serve((stream, rest), &|token| {
            let grant = state.tokens.grant(token)?;
            Some(LiveGrant {
                read_only: state.is_read_only(&grant),
                tenant: grant.tenant,
            })
        });
    }
}

fn admit<'a>(state: &'a ServerState, head: &Head) -> Result<(Handshake, SocketPlace<'a>), Problem> {
    let handshake = Handshake::of(head.headers())?;
    let place = state.live.enter()?;
    let place = place.ok_or_else(|| {
        Problem::new(
            "too-many",
            "there are 64 live sockets, or the server is stopping",
        )
    })?;
    Ok((handshake, place))
}
