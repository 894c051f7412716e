//! Markdown as the HTML that the Bot API reads.

use super::{
    fence::Fence,
    inline::{inline, inline_within},
};

/// The HTML of a text. Whatever is not understood stays as it is written.
pub(super) fn html(markdown: &str) -> String {
    let mut out = Html::default();
    let mut lines = markdown.split('\n').peekable();
    let mut paragraph: Vec<&str> = Vec::new();
    while let Some(line) = lines.next() {
        let line = line.trim_end_matches('\r');
        if let Some(fence) = Fence::open(line) {
            out.paragraph(&mut paragraph);
            let mut code: Vec<&str> = Vec::new();
            for line in lines.by_ref() {
                if fence.is_closed_by(line) {
                    break;
                }
                code.push(line.trim_end_matches('\r'));
            }
            out.block(&code_block(&fence, &code.join("\n")));
        } else if let Some(first) = quote(line) {
            out.paragraph(&mut paragraph);
            let mut quoted = vec![first];
            while let Some(more) = lines.peek().and_then(|line| quote(line)) {
                quoted.push(more);
                lines.next();
            }
            let words = inline(&quoted.join("\n"));
            out.block(&format!("<blockquote>{words}</blockquote>"));
        } else if let Some(title) = heading(line) {
            out.paragraph(&mut paragraph);
            out.block(&format!("<b>{}</b>", inline_within(title, &["b"])));
        } else if let Some((indent, words)) = item(line) {
            out.paragraph(&mut paragraph);
            out.block(&format!("{indent}• {}", inline(words)));
        } else if line.trim().is_empty() {
            out.paragraph(&mut paragraph);
            out.block("");
        } else {
            paragraph.push(line);
        }
    }
    out.paragraph(&mut paragraph);
    out.text
}

#[derive(Default)]
struct Html {
    text: String,
    begun: bool,
}

impl Html {
    fn block(&mut self, block: &str) {
        if self.begun {
            self.text.push('\n');
        }
        self.begun = true;
        self.text.push_str(block);
    }

    fn paragraph(&mut self, lines: &mut Vec<&str>) {
        if !lines.is_empty() {
            let text = inline(&lines.join("\n"));
            self.block(&text);
            lines.clear();
        }
    }
}

fn code_block(fence: &Fence, code: &str) -> String {
    let code = escape(code);
    match fence.language() {
        "" => format!("<pre>{code}</pre>"),
        language => format!(
            "<pre><code class=\"language-{}\">{code}</code></pre>",
            escape(language)
        ),
    }
}

fn quote(line: &str) -> Option<&str> {
    let mut rest = line.trim_start().strip_prefix('>')?;
    // The service knows no quotes in quotes.
    while let Some(inner) = rest.trim_start().strip_prefix('>') {
        rest = inner;
    }
    Some(
        rest.strip_prefix(' ')
            .unwrap_or(rest)
            .trim_end_matches('\r'),
    )
}

fn heading(line: &str) -> Option<&str> {
    let rest = line.trim_start_matches('#');
    let level = line.len() - rest.len();
    let title = rest.strip_prefix(' ')?.trim().trim_end_matches('#').trim();
    ((1..=6).contains(&level) && !title.is_empty()).then_some(title)
}

/// An item of a list without numbers; those with numbers are readable as they are.
fn item(line: &str) -> Option<(&str, &str)> {
    let rest = line.trim_start();
    let indent = line.get(..line.len() - rest.len())?;
    let words = ["- ", "* ", "+ "]
        .iter()
        .find_map(|mark| rest.strip_prefix(mark))?;
    (!words.trim().is_empty()).then_some((indent, words))
}

/// Text in which nothing is taken for markup.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            c => escaped.push(c),
        }
    }
    escaped
}
