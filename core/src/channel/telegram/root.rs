//! Where the Bot API lies.

use crate::policy::{Endpoint, UrlPolicy, check_http_base};

/// The Bot API's root where nothing else is configured.
pub const DEFAULT_API_ROOT: &str = "https://api.telegram.org";

/// The root of a Bot API, if a bot's token may be sent there: `https://`, or `http://` to a host that is
/// near.
///
/// # Errors
/// Why not, and what to write instead; without the token, if somebody wrote it into the URL.
///
/// ```
/// use clawgate_core::{channel::telegram::check_api_root, policy::UrlPolicy};
///
/// assert!(check_api_root("http://127.0.0.1:8081", UrlPolicy::Strict).is_ok());
/// assert!(check_api_root("http://api.example.com", UrlPolicy::Strict).is_err());
/// ```
pub fn check_api_root(root: &str, policy: UrlPolicy) -> Result<Endpoint, String> {
    let endpoint = check_http_base(root, "", "botToken", policy)?;
    // The Bot API's own URLs go on with /bot and the token.
    if endpoint.path_and_query().contains("/bot") && endpoint.path_and_query().contains(':') {
        return Err(
            "this is the root with a token behind it; write the root alone, and the token into \
             botToken"
                .to_owned(),
        );
    }
    Ok(endpoint)
}
