//! Headers for an identity-aware proxy in front of the configured gateway
//! (`gateway.remote.edgeAuth`): sent to `gateway.remote.url` and nowhere else, and only under TLS.

use super::error::CredentialError;
use super::refs::RefReader;
use super::request::{Presented, Request};
use super::target::{Place, UrlSource};
use crate::config::SecretInput;
use crate::policy::{EdgeAuthProblem, EdgeHeaders};

/// The headers for a place. What is wrong with one of them is an error, never a header less.
pub(super) fn edge_headers(
    request: &Request<'_>,
    place: &Place,
    refs: &mut RefReader<'_>,
) -> Result<EdgeHeaders, CredentialError> {
    let Some(written) = &request.config.gateway.remote.edge_auth else {
        return Ok(EdgeHeaders::none());
    };
    if place.source != UrlSource::Remote || request.flags.presented == Presented::Nothing {
        return Ok(EdgeHeaders::none());
    }
    // Through a tunnel there is no proxy on the way.
    if place.endpoint.tunnel().is_some() {
        return Ok(EdgeHeaders::none());
    }
    if !place.endpoint.is_tls() {
        return Err(CredentialError::EdgeAuthNeedsTls);
    }
    let mut headers = Vec::new();
    let mut unread = None;
    for (name, input) in written {
        let invalid = |problem| CredentialError::EdgeAuthInvalid {
            header: Some(name.clone()),
            problem,
        };
        let secret = match input {
            SecretInput::Plain(secret) => secret.clone(),
            SecretInput::Absent | SecretInput::Blank => {
                return Err(invalid(EdgeAuthProblem::NoValue));
            }
            SecretInput::Embedded(_) => return Err(invalid(EdgeAuthProblem::Embedded)),
            SecretInput::Ref(reference) => match refs.read(reference) {
                Ok(secret) => secret,
                // The other references are asked for too, so that the host reads all at once.
                Err(fault) => {
                    unread.get_or_insert_with(|| CredentialError::EdgeAuthUnavailable {
                        header: name.clone(),
                        reference: reference.clone(),
                        fault: Box::new(fault),
                    });
                    continue;
                }
            },
        };
        headers.push((name.clone(), secret));
    }
    match unread {
        Some(error) => Err(error),
        None => EdgeHeaders::new(headers)
            .map_err(|(header, problem)| CredentialError::EdgeAuthInvalid { header, problem }),
    }
}
