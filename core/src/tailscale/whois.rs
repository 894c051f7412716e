//! `tailscale whois --json ADDRESS`: who is at an address of the tailnet.

use core::net::IpAddr;

use serde::Deserialize;

use crate::policy::Whois;

/// Bytes of an answer that are read at most. A longer one is no answer.
pub const MAX_OUTPUT: usize = 256 * 1024;

/// The login that stands for all machines that belong to no user.
const TAGGED: &str = "tagged-devices";

/// The arguments that ask about an address.
pub fn whois_args(ip: IpAddr) -> [String; 3] {
    ["whois".into(), "--json".into(), ip.to_string()]
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    node: Node,
    user_profile: UserProfile,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Node {
    #[serde(default)]
    tags: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct UserProfile {
    login_name: String,
}

impl Whois {
    /// Reads the answer. A machine with tags belongs to no user, so it has no login here.
    ///
    /// ```
    /// use clawgate_core::policy::Whois;
    ///
    /// let answer = br#"{"Node":{"ID":1},"UserProfile":{"LoginName":"ada@example.org"}}"#;
    /// assert_eq!(Whois::parse(answer), Whois::Login("ada@example.org".into()));
    /// assert_eq!(Whois::parse(b"no such peer"), Whois::Unknown);
    /// ```
    pub fn parse(output: &[u8]) -> Self {
        let Ok(Answer { node, user_profile }) = serde_json::from_slice(output) else {
            return Self::Unknown;
        };
        let login = user_profile.login_name.trim();
        let tagged = node.tags.is_some_and(|tags| !tags.is_empty());
        if output.len() > MAX_OUTPUT
            || tagged
            || login.is_empty()
            || login.eq_ignore_ascii_case(TAGGED)
        {
            return Self::Unknown;
        }
        Self::Login(login.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the program prints it, shortened.
    const ANSWER: &str = r#"{
        "Node": {"ID": 4012, "StableID": "nXYZ", "Name": "laptop.tail1.ts.net.",
                 "Addresses": ["100.64.0.5/32"], "Hostinfo": {"OS": "linux"}},
        "UserProfile": {"ID": 7, "LoginName": "Ada@Example.org", "DisplayName": "Ada",
                        "ProfilePicURL": "https://example.org/a.png", "Roles": []},
        "CapMap": null
    }"#;

    #[test]
    fn a_login_is_read() {
        assert_eq!(
            Whois::parse(ANSWER.as_bytes()),
            Whois::Login("Ada@Example.org".into())
        );
    }

    #[test]
    fn machines_without_a_user_and_garbage_have_no_login() {
        let tagged = ANSWER.replace(r#""Name""#, r#""Tags": ["tag:server"], "Name""#);
        let nobody = ANSWER.replace("Ada@Example.org", "tagged-devices");
        let blank = ANSWER.replace("Ada@Example.org", " ");
        let long = ANSWER.replace("laptop", &"x".repeat(MAX_OUTPUT));
        for output in [
            &tagged,
            &nobody,
            &blank,
            &long,
            "",
            "{}",
            "null",
            "peer not found",
            r#"{"UserProfile":{"LoginName":"ada@example.org"}}"#,
            r#"{"Node":{},"UserProfile":{"LoginName":7}}"#,
            &format!("warning\n{ANSWER}"),
        ] {
            assert_eq!(
                Whois::parse(output.as_bytes()),
                Whois::Unknown,
                "{output:.60}"
            );
        }
    }

    #[test]
    fn an_address_is_one_argument() {
        let [_, _, ip] = whois_args([100, 64, 0, 5].into());
        assert_eq!(ip, "100.64.0.5");
    }
}
