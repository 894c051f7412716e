//! Which endpoints a key may be sent to: the same host policy as for gateways (seed 002, *Security
//! rules*).

use crate::policy::{Endpoint, UrlPolicy, check_http_base};

/// The one way of speaking that is known, as `models.providers.NAME.api` names it.
pub const CHAT_API: &str = "openai-completions";

/// Where the chat completions of a base URL lie, if requests may go there.
///
/// # Errors
/// Why not, and what to write instead. A user name or password in the URL is never repeated.
///
/// ```
/// use clawgate_core::{agent::openai::check_base_url, policy::UrlPolicy};
///
/// let local = check_base_url("http://127.0.0.1:11434/v1/", UrlPolicy::Strict).unwrap();
/// assert_eq!(local.path_and_query(), "/v1/chat/completions");
/// assert!(check_base_url("http://api.example.com/v1", UrlPolicy::Strict).is_err());
/// ```
pub fn check_base_url(base: &str, policy: UrlPolicy) -> Result<Endpoint, String> {
    check_http_base(base, "/chat/completions", "apiKey", policy)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn why(url: &str) -> String {
        check_base_url(url, UrlPolicy::Strict).unwrap_err()
    }

    #[test]
    fn near_or_encrypted_endpoints_are_taken() {
        for (base, path) in [
            ("https://api.example.com/v1", "/v1/chat/completions"),
            ("https://api.example.com", "/chat/completions"),
            ("http://localhost:11434/v1//", "/v1/chat/completions"),
            ("HTTP://192.168.1.5:8080/v1", "/v1/chat/completions"),
            ("http://gpu.local/a%20b", "/a%20b/chat/completions"),
        ] {
            let endpoint = check_base_url(base, UrlPolicy::Strict).unwrap();
            assert_eq!(endpoint.path_and_query(), path, "{base}");
        }
        let named = "http://ollama:11434/v1";
        assert!(check_base_url(named, UrlPolicy::AllowInsecureNames).is_ok());
    }

    #[test]
    fn the_rest_is_refused_with_a_way_out_and_without_a_password() {
        for (base, part) in [
            ("", "https://"),
            ("ws://127.0.0.1/v1", "https://"),
            ("api.example.com/v1", "https://"),
            ("https://api.example.com/v1?key=hunter2", "query"),
            ("https://me:hunter2@api.example.com/v1", "apiKey"),
            (
                "http://me:hunter2@api.example.com/v1",
                "use https://api.example.com",
            ),
            ("http://8.8.8.8:8080/v1", "use https://8.8.8.8:8080"),
            ("http://ollama:11434/v1", ".local"),
            ("http://0.0.0.0:11434/v1", "127.0.0.1"),
            ("https://", "names no host"),
            ("http://127.0.0.1:0/v1", "port 0"),
        ] {
            let why = why(base);
            assert!(why.contains(part), "{base}: {why}");
            assert!(!why.contains("hunter2"), "{base}: {why}");
        }
    }
}
