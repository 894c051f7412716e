use proptest::prelude::*;

use crate::channel::telegram::format::html;

#[test]
fn markdown_becomes_the_html_that_the_api_knows() {
    for (markdown, expected) in [
        ("plain", "plain"),
        ("a & b < c > d", "a &amp; b &lt; c &gt; d"),
        ("**bold** and __bold__", "<b>bold</b> and <b>bold</b>"),
        ("*it* and _it_", "<i>it</i> and <i>it</i>"),
        ("***both***", "<b><i>both</i></b>"),
        ("**a *b* c**", "<b>a <i>b</i> c</b>"),
        ("*a **b** c*", "<i>a <b>b</b> c</i>"),
        ("~~gone~~", "<s>gone</s>"),
        ("`a < *b*`", "<code>a &lt; *b*</code>"),
        ("`` a`b ``", "<code>a`b</code>"),
        ("snake_case_name 2 * 3 * 4", "snake_case_name 2 * 3 * 4"),
        ("**open", "**open"),
        ("a ** b ** c", "a ** b ** c"),
        (r"\*not\* \<i\>", "*not* &lt;i&gt;"),
        (
            "[a *b*](https://x.example/?a=1&b=\"2\")",
            "<a href=\"https://x.example/?a=1&amp;b=&quot;2&quot;\">a <i>b</i></a>",
        ),
        (
            "[a](https://x.example/b_(c)_d \"title\")",
            "<a href=\"https://x.example/b_(c)_d\">a</a>",
        ),
        ("[a](javascript:alert(1))", "[a](javascript:alert(1))"),
        (
            "![cat](https://x.example/c.png)",
            "<a href=\"https://x.example/c.png\">cat</a>",
        ),
        ("<https://x.example>", "https://x.example"),
        ("<b>no</b>", "&lt;b&gt;no&lt;/b&gt;"),
        ("# Title", "<b>Title</b>"),
        ("### A **b** #", "<b>A b</b>"),
        ("#hashtag", "#hashtag"),
        ("- a\n* b\n  + *c*\n1. d", "• a\n• b\n  • <i>c</i>\n1. d"),
        (
            "> a\n> **b**\n>> c\nd",
            "<blockquote>a\n<b>b</b>\nc</blockquote>\nd",
        ),
        ("a\n\nb", "a\n\nb"),
        ("*a\nb*", "<i>a\nb</i>"),
        ("*a\n\nb*", "*a\n\nb*"),
        ("```\na < b\n```", "<pre>a &lt; b</pre>"),
        (
            "x\n```rust\nfn *a*() {}\n\n```\ny",
            "x\n<pre><code class=\"language-rust\">fn *a*() {}\n</code></pre>\ny",
        ),
        ("````\n```\n````", "<pre>```</pre>"),
        ("~~~\na", "<pre>a</pre>"),
        ("``` not a fence", "``` not a fence"),
    ] {
        assert_eq!(html(markdown), expected, "{markdown:?}");
    }
}

/// Checks that tags close in order, and gives the text without them.
fn read(html: &str) -> String {
    let mut open: Vec<String> = Vec::new();
    let mut text = String::new();
    let mut rest = html;
    while let Some(at) = rest.find(['<', '&']) {
        text.push_str(&rest[..at]);
        rest = &rest[at..];
        if rest.starts_with('&') {
            let end = rest.find(';').unwrap();
            text.push_str(match &rest[..=end] {
                "&amp;" => "&",
                "&lt;" => "<",
                "&gt;" => ">",
                "&quot;" => "\"",
                other => panic!("{other}"),
            });
            rest = &rest[end + 1..];
            continue;
        }
        let end = rest.find('>').unwrap();
        let tag = &rest[1..end];
        match tag.strip_prefix('/') {
            Some(name) => assert_eq!(open.pop().as_deref(), Some(name), "{html}"),
            None => {
                let name = tag.split(' ').next().unwrap().to_owned();
                assert!(!open.contains(&name), "{html}");
                open.push(name);
            }
        }
        rest = &rest[end + 1..];
    }
    assert!(open.is_empty(), "{html}");
    text + rest
}

proptest! {
    #[test]
    fn tags_always_close_and_no_word_is_lost(
        text in "([a-z0-9 ]|[*_~`>#\\[\\]()!<&\\\\\n-]|https://x|\\*\\*|```|é|😀){0,80}"
    ) {
        let shown = read(&html(&text));
        // Addresses of links and names of languages are not shown; letters elsewhere are.
        if !text.contains("](") && !text.contains("```") && !text.contains("~~~") {
            let letters = |text: &str| text.chars().filter(|c| c.is_alphanumeric()).collect::<String>();
            prop_assert_eq!(letters(&shown), letters(&text));
        }
        // Nothing gets longer, so what was cut to fit still fits.
        prop_assert!(shown.encode_utf16().count() <= text.encode_utf16().count());
    }
}
