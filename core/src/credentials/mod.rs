//! Which token and password a client sends, and to which gateway (seed 002, Credential precedence;
//! spec credentials).
//!
//! [`resolve()`] is the whole contract in one pure function. Its answer is a [`Target`]: an endpoint
//! and the credentials that were resolved for that endpoint, in one value, so that a credential
//! cannot leave for another address. [`Explanation`] says why each source was used or passed over.

mod context;
mod edge;
mod error;
mod explain;
mod precedence;
mod refs;
mod request;
mod resolve;
mod shown_refs;
mod source;
mod target;
mod token_book;
mod trust;
mod tunnel;

pub use context::{
    CONTEXT_ENV, ContextChoice, ContextError, ContextTarget, NamedTarget, RemoteFault,
    check_remote, choose_context,
};
pub use error::CredentialError;
pub use explain::{
    Explanation, Shown, ShownContext, ShownError, ShownTunnel, ShownWarning, Skipped,
};
pub use precedence::{
    Chosen, KindOrder, LocalOrder, Mode, Order, RemoteFallback, RemoteInLocalMode, RemoteOrder,
    Selection, Unavailable,
};
pub use refs::RefAccess;
pub(crate) use refs::RefReader;
pub use request::{
    DeviceTokens, FirstUse, Flags, NodeScheme, NodeTarget, Presented, Request, SshFlags, Surface,
};
pub use resolve::{Resolution, resolve, select_by_order};
pub use shown_refs::{ShownRef, shown_refs, wanted_refs};
pub use source::{SecretPath, Source, env_name};
pub use target::{BoundAuth, Place, Target, UrlSource, Warning, locate};
pub use token_book::{
    Found, GatewayKey, MAX_TOKEN_BOOK, StoredToken, TokenBook, TokenBookError, Way, Who,
};
pub use trust::PinSource;
pub use tunnel::configured_tunnel;
