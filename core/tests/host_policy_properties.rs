//! What holds for every URL, not only for those that somebody thought of.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use clawgate_core::policy::{Endpoint, HostClass, Refusal, UrlPolicy};
use proptest::prelude::*;

/// Written apart from the implementation, from the table of spec hostpolicy §1.2.
fn is_near_v4(ip: Ipv4Addr) -> bool {
    ip.is_loopback()
        || ip.is_private()
        || ip.is_link_local()
        || (u32::from(ip) >> 22) == (u32::from(Ipv4Addr::new(100, 64, 0, 0)) >> 22)
}

fn is_near_v6(ip: Ipv6Addr) -> bool {
    match ip.to_ipv4_mapped() {
        Some(v4) => is_near_v4(v4),
        None => {
            let top = ip.segments()[0];
            ip.is_loopback() || top >> 9 == 0xfc00 >> 9 || (0xfe80..0xff00).contains(&top)
        }
    }
}

fn allowed(url: &str, policy: UrlPolicy) -> bool {
    Endpoint::parse(url, policy).is_ok()
}

/// The spellings of an IPv4 address that URL parsers understand.
fn spellings(ip: Ipv4Addr) -> Vec<String> {
    let [a, b, c, d] = ip.octets();
    let bits = u32::from(ip);
    vec![
        ip.to_string(),
        format!("{ip}."),
        format!("{bits}"),
        format!("0x{bits:x}"),
        format!("0X{bits:X}"),
        format!("0{bits:o}"),
        format!("0x{a:x}.0{b:o}.{c}.0x{d:x}"),
        format!("{a}.{}", bits & 0x00ff_ffff),
        format!("{a}.{b}.{}", bits & 0xffff),
        ip.to_string().replace('.', "%2e"),
        ip.to_string().replace('.', "\u{3002}"),
        ip.to_string().chars().map(full_width).collect(),
    ]
}

fn full_width(c: char) -> char {
    match c.to_digit(10) {
        Some(digit) => char::from_u32(0xff10 + digit).unwrap(),
        None => c,
    }
}

/// IPv4 addresses of which many are near the edges of the special blocks.
fn ipv4() -> impl Strategy<Value = Ipv4Addr> {
    let edges = prop::sample::select(vec![
        "0.0.0.0",
        "10.0.0.0",
        "11.0.0.0",
        "100.64.0.0",
        "100.128.0.0",
        "127.0.0.0",
        "128.0.0.0",
        "169.254.0.0",
        "169.255.0.0",
        "172.16.0.0",
        "172.32.0.0",
        "192.168.0.0",
        "192.169.0.0",
        "224.0.0.0",
        "255.255.255.255",
    ]);
    prop_oneof![
        any::<u32>().prop_map(Ipv4Addr::from),
        (edges, -2_i32..3).prop_map(|(edge, step)| {
            Ipv4Addr::from(u32::from(edge.parse::<Ipv4Addr>().unwrap()).wrapping_add_signed(step))
        }),
    ]
}

fn ipv6() -> impl Strategy<Value = Ipv6Addr> {
    let prefixes = prop::sample::select(vec![
        "::",
        "::1",
        "::ffff:0:0",
        "64:ff9b::",
        "2002::",
        "2001:db8::",
        "2000::",
        "fbff::",
        "fc00::",
        "fdff::",
        "fe00::",
        "fe7f::",
        "fe80::",
        "febf::",
        "fec0::",
        "feff::",
        "ff00::",
    ]);
    prop_oneof![
        any::<u128>().prop_map(Ipv6Addr::from),
        (prefixes, any::<u128>(), 16_u32..112).prop_map(|(prefix, bits, keep)| {
            Ipv6Addr::from(u128::from(prefix.parse::<Ipv6Addr>().unwrap()) | (bits >> keep))
        }),
        ipv4().prop_map(|ip| ip.to_ipv6_mapped()),
        ipv4().prop_map(|ip| Ipv6Addr::from(u128::from(u32::from(ip)))),
    ]
}

/// Text that hides the host from people who look at the URL instead of parsing it.
fn disguises(host: &str) -> Vec<String> {
    vec![
        format!("ws://{host}"),
        format!("WS://{host}:18789/"),
        format!("http://{host}/127.0.0.1"),
        format!("ws:{host}"),
        format!("ws:///{host}"),
        format!(" ws://{host}\t"),
        format!("w\ns://{host}"),
        format!("ws:\\\\{host}\\127.0.0.1"),
        format!("ws://127.0.0.1@{host}"),
        format!("ws://localhost:18789@{host}"),
        format!("ws://127.0.0.1%2f@{host}"),
        format!("ws://[::1]@{host}"),
        format!("ws://{host}?@127.0.0.1"),
        format!("ws://{host}#@127.0.0.1"),
        format!("ws://{host}\\@127.0.0.1"),
    ]
}

proptest! {
    #[test]
    fn an_ipv4_address_is_judged_alike_however_it_is_written(ip in ipv4()) {
        for host in spellings(ip) {
            let url = format!("ws://{host}:18789");
            for policy in [UrlPolicy::Strict, UrlPolicy::AllowInsecureNames] {
                prop_assert_eq!(allowed(&url, policy), is_near_v4(ip), "{}", url);
            }
            let secure = format!("wss://{host}");
            prop_assert!(allowed(&secure, UrlPolicy::Strict));
        }
    }

    #[test]
    fn an_ipv6_address_is_judged_alike_however_it_is_written(ip in ipv6()) {
        let segments: Vec<String> = ip.segments().iter().map(|s| format!("{s:04X}")).collect();
        for host in [format!("[{ip}]"), format!("[{}]", segments.join(":"))] {
            for policy in [UrlPolicy::Strict, UrlPolicy::AllowInsecureNames] {
                prop_assert_eq!(allowed(&format!("ws://{host}"), policy), is_near_v6(ip), "{}", host);
            }
        }
    }

    #[test]
    fn no_disguise_lets_a_public_address_pass(ip in ipv4()) {
        if is_near_v4(ip) {
            return Ok(());
        }
        for host in spellings(ip) {
            for url in disguises(&host) {
                prop_assert!(!allowed(&url, UrlPolicy::AllowInsecureNames), "{}", url);
            }
        }
    }

    #[test]
    fn no_disguise_lets_a_public_name_pass(
        labels in prop::collection::vec("[a-z][a-z0-9-]{0,8}[a-z0-9]", 1..4),
        tld in prop::sample::select(vec!["com", "net", "dev", "example", "localhost", "lan"]),
    ) {
        let host = format!("{}.{tld}", labels.join("."));
        prop_assume!(!host.ends_with(".ts.net") && !host.contains("xn--"));
        for url in disguises(&host).iter().chain(&disguises(&host.to_uppercase())) {
            prop_assert!(!allowed(url, UrlPolicy::Strict), "{}", url);
        }
        for near in ["local", "ts.net", "localhost", "127.0.0.1"] {
            let lookalike = format!("ws://{near}.{host}");
            prop_assert!(!allowed(&lookalike, UrlPolicy::Strict), "{}", lookalike);
        }
    }

    #[test]
    fn case_and_dots_at_the_end_change_nothing_for_names(
        label in "[a-zA-Z][a-zA-Z0-9]{0,8}",
        suffix in prop::sample::select(vec!["", ".local", ".ts.net", ".lan", ".example.com"]),
        dots in 0_usize..3,
    ) {
        let host = format!("{label}{suffix}");
        let plain = Endpoint::parse(&format!("ws://{}", host.to_lowercase()), UrlPolicy::Strict);
        let varied = format!("ws://{}{}", host.to_uppercase(), ".".repeat(dots));
        let varied = Endpoint::parse(&varied, UrlPolicy::Strict);
        prop_assert_eq!(plain.is_ok(), varied.is_ok());
        if let (Ok(plain), Ok(varied)) = (plain, varied) {
            prop_assert_eq!(plain.class(), varied.class());
            prop_assert_eq!(plain.server_name(), varied.server_name());
        }
    }

    #[test]
    fn path_query_and_port_change_nothing(
        ip in ipv4(),
        port in any::<u16>(),
        path in "[a-z@:#?%./\\\\-]{0,20}",
    ) {
        let url = format!("ws://{ip}:{port}/{path}");
        prop_assert_eq!(allowed(&url, UrlPolicy::Strict), is_near_v4(ip));
    }

    #[test]
    fn an_accepted_url_means_the_same_when_it_is_parsed_again(text in "\\PC{0,40}") {
        for url in [format!("ws://{text}"), format!("wss://{text}"), text] {
            if let Ok(endpoint) = Endpoint::parse(&url, UrlPolicy::Strict) {
                prop_assert!(endpoint.is_tls() || endpoint.class().allows_plaintext());
                let again = Endpoint::parse(&endpoint.dial_url(), UrlPolicy::Strict);
                let again = again.map_err(|refusal| TestCaseError::fail(refusal.to_string()))?;
                prop_assert_eq!(again.host(), endpoint.host());
                prop_assert_eq!(again.dial_url(), endpoint.dial_url());
            }
        }
    }

    #[test]
    fn userinfo_never_comes_back_out(
        user in "[a-z0-9]{0,8}",
        host in prop::sample::select(vec!["127.0.0.1", "gw.local", "gw.example.com", "[::1", ""]),
    ) {
        let secret = format!("hunter2{user}");
        for url in [format!("ws://{user}:{secret}@{host}"), format!("{secret}@{host}")] {
            let shown = match Endpoint::parse(&url, UrlPolicy::Strict) {
                Ok(endpoint) => {
                    format!("{endpoint} {endpoint:?} {} {}", endpoint.dial_url(), endpoint.host_header())
                }
                Err(refusal) => format!("{refusal} {refusal:?}"),
            };
            prop_assert!(!shown.contains("hunter2"), "{}", shown);
        }
    }

    #[test]
    fn plaintext_is_refused_for_one_reason_only(ip in any::<IpAddr>()) {
        let host = match ip {
            IpAddr::V4(ip) => ip.to_string(),
            IpAddr::V6(ip) => format!("[{ip}]"),
        };
        match Endpoint::parse(&format!("ws://{host}"), UrlPolicy::Strict) {
            Ok(endpoint) => prop_assert_eq!(endpoint.class(), HostClass::of_ip(ip)),
            Err(Refusal::Plaintext(target)) => {
                prop_assert_eq!(target.class(), HostClass::of_ip(ip));
                prop_assert!(!target.class().allows_plaintext());
            }
            Err(other) => prop_assert!(false, "{}", other),
        }
    }
}
