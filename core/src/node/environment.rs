//! Which variables reach a program that a gateway asked for.

/// Names that belong to the gateway and its clients.
const OWN: [&str; 4] = ["OPENCLAW_", "CLAWGATE_", "CLAWDBOT_", "MOLTBOT_"];

/// Parts of a name that say that its value is a credential.
const CREDENTIALS: [&str; 5] = ["TOKEN", "PASSWORD", "SECRET", "KEY", "CREDENTIAL"];

/// Variables by which a caller could make a harmless program run something else, look for its files
/// elsewhere, trust or ask somebody else, or use other credentials. A `*` at the end stands for any
/// rest.
#[rustfmt::skip]
const REFUSED: &[&str] = &[
    // Where programs and settings are found.
    "PATH", "HOME", "SHELL", "SYSTEMROOT", "WINDIR", "COMSPEC", "PATHEXT", "XDG_*",
    // The loader and the C library.
    "LD_*", "DYLD_*", "GCONV_PATH", "GLIBC_*", "HOSTALIASES",
    // Shells.
    "BASH_*", "BASHOPTS", "ENV", "FPATH", "IFS", "KSH_ENV", "PROMPT_COMMAND", "PS4", "SHELLOPTS",
    "ZDOTDIR", "HISTFILE",
    // Interpreters.
    "NODE_*", "PYTHON*", "PERL5*", "RUBY*", "LUA_*", "JAVA_*", "_JAVA_OPTIONS", "JDK_*",
    "CLASSPATH", "DOTNET_*", "CORECLR_*", "PHPRC", "PHP_*", "ERL_*", "ELIXIR_*", "R_*", "JULIA_*",
    "DENO_*", "BUN_*", "TCLLIBPATH", "EMACSLOADPATH", "VIRTUAL_ENV", "CONDA_*",
    // Programs that other programs start.
    "EDITOR", "VISUAL", "FCEDIT", "SUDO_*", "PAGER", "MANPAGER", "BROWSER", "LESSOPEN",
    "LESSCLOSE", "GIT_*", "SSH_*", "SVN_*", "HG*", "BZR_*", "EXINIT", "VIMINIT", "MYVIMRC",
    "GVIMINIT",
    // Builds and packages.
    "CC", "CPP", "CXX", "CXXCPP", "CFLAGS", "LDFLAGS", "CPATH", "LIBRARY_PATH", "CARGO_*",
    "RUSTC*", "RUSTDOC*", "RUSTFLAGS", "RUSTUP_*", "CMAKE_*", "CONFIG_SITE", "CONFIG_SHELL",
    "MAKE*", "MFLAGS", "GO*", "CGO_*", "GRADLE_*", "MAVEN_*", "ANT_*", "SBT_*", "CATALINA_*",
    "NPM_*", "YARN_*", "PIP_*", "UV_*", "GEM_*", "BUNDLE_*", "COMPOSER_*", "HELM_*", "PACKER_*",
    "VAGRANT_*", "ANSIBLE_*", "TF_*",
    // Whom to ask, and whom to trust.
    "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL*", "OPENSSL_*", "CURL_*", "WGETRC",
    "REQUESTS_CA_BUNDLE", "DOCKER_*", "KUBECONFIG",
    // Other credentials.
    "AWS_*", "AZURE_*", "GOOGLE_*", "GH_TOKEN", "GITHUB_TOKEN", "GITLAB_TOKEN", "DATABASE_URL",
];

/// Whether a variable of the host's own environment is given to programs. The credentials of
/// gateways are not.
///
/// ```
/// use clawgate_core::node::passes_on;
///
/// assert!(passes_on("LANG") && passes_on("OPENCLAW_STATE_DIR"));
/// assert!(!passes_on("OPENCLAW_GATEWAY_TOKEN") && !passes_on("OPENCLAW_GATEWAY_PASSWORD"));
/// ```
pub fn passes_on(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    let own = OWN.iter().any(|start| name.starts_with(start));
    !(own && CREDENTIALS.iter().any(|part| name.contains(part)))
}

/// Why a variable may not be set by a request, if it may not.
///
/// ```
/// use clawgate_core::node::refused_override;
///
/// assert!(refused_override("GREETING").is_none());
/// assert!(refused_override("LD_PRELOAD").is_some());
/// assert!(refused_override("A=B").is_some());
/// ```
pub fn refused_override(name: &str) -> Option<&'static str> {
    let portable = name.bytes().enumerate().all(|(at, byte)| {
        byte == b'_' || byte.is_ascii_alphabetic() || (at > 0 && byte.is_ascii_digit())
    });
    if name.is_empty() || !portable {
        return Some("its name is not portable");
    }
    let name = name.to_ascii_uppercase();
    let refused = REFUSED.iter().any(|rule| match rule.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => name == *rule,
    });
    let own = OWN.iter().any(|start| name.starts_with(start));
    (refused || own).then_some("it changes what a program does")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_starts_other_programs_is_refused_in_any_case() {
        for name in [
            "PATH",
            "path",
            "LD_PRELOAD",
            "Bash_Env",
            "BASH_FUNC_ls",
            "PYTHONSTARTUP",
            "GIT_SSH_COMMAND",
            "OPENCLAW_STATE_DIR",
            "",
            "1A",
            "A-B",
            "A B",
        ] {
            assert!(refused_override(name).is_some(), "{name}");
        }
        for name in ["LANG", "TZ", "MY_VALUE", "_x", "PATHS", "LC_ALL", "CI"] {
            assert!(refused_override(name).is_none(), "{name}");
        }
    }

    #[test]
    fn credentials_of_gateways_stay_behind() {
        for name in [
            "OPENCLAW_GATEWAY_TOKEN",
            "openclaw_gateway_password",
            "CLAWGATE_API_KEY",
            "CLAWDBOT_GATEWAY_TOKEN",
        ] {
            assert!(!passes_on(name), "{name}");
        }
        for name in ["PATH", "HOME", "OPENCLAW_PROFILE", "TOKENIZERS_PARALLELISM"] {
            assert!(passes_on(name), "{name}");
        }
    }
}
