//! Messages from outside and back: never lost, never answered twice (seed 002, *Command flow*).
//!
//! What a channel hears is on disk, together with the place where its list goes on, before the
//! service is told so. What is said is on disk before it is sent, and the attempt is, too: after a
//! crash, a part that was under way is uncertain, shown, and never repeated by itself.
//!
//! | file | rule |
//! | --- | --- |
//! | `record` | what is kept |
//! | `book` | what is kept, in memory and in order |
//! | `accounts` | starting, stopping and driving the channels |
//! | `control` | the same, because an operator wants it |
//! | `inbound` | from what somebody wrote to a run |
//! | `outbound` | from a reply to the service |
//! | `replies` | from the end of a run to a reply, with the files of nodes |
//! | `senders` | callers that wait until something is sent |
//! | `places` | which session belongs to a place, and the reverse |
//! | `pairing` | codes for people whom nobody knows |
//! | `owner_words` | what people can say to the gateway itself |
//! | `words` | what it says to them |
//! | `status` | how it all fares |

mod accounts;
mod book;
mod control;
mod inbound;
mod outbound;
mod owner_words;
mod pairing;
mod places;
mod record;
mod replies;
mod senders;
mod status;
mod words;

pub(in crate::gateway) use accounts::Accounts;
pub(in crate::gateway) use book::ChannelBook;
pub(in crate::gateway) use outbound::{NewMessage, PartWaiter};
pub(in crate::gateway) use pairing::{CODE_LIFE, MAX_ASKING};
pub(in crate::gateway) use places::Route;
pub(in crate::gateway) use record::{
    Asked, Hop, MessageId, MessageRecord, MessageState, Outbound, PartBody, PartRecord, PartState,
    SenderRecord, Standing, Way,
};
pub(in crate::gateway) use replies::{DeliverTo, mime_of_format};
pub(in crate::gateway) use status::{AccountProblem, ChannelHealth, link_name};
