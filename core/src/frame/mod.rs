//! The three envelopes of the wire (spec protocol §2): request, response, event.
//!
//! An envelope is parsed once. What it carries stays raw JSON until somebody needs it, and what is
//! sent to many connections is serialised once.

mod decode;
mod encode;
mod event;
mod raw;

pub use decode::{FrameError, Incoming, IncomingEvent, IncomingResponse, Request};
pub use encode::{encode_request, encode_response};
pub use event::{Droppable, OutboundEvent, StateVersion};
pub use raw::RawJson;

pub(crate) use decode::{id_of_broken_request, parse_shape};
