//! Where the program may lie. What it says lets people in, so the host judges what it finds there by
//! [`check_program`](crate::policy::check_program).

/// The program's file name.
pub const PROGRAM: &str = if cfg!(windows) {
    "tailscale.exe"
} else {
    "tailscale"
};

/// The folders in which the program is looked for, in this order.
pub const FOLDERS: &[&str] = if cfg!(windows) {
    &["C:\\Program Files\\Tailscale"]
} else {
    &[
        "/usr/bin",
        "/usr/sbin",
        "/bin",
        "/sbin",
        "/usr/local/bin",
        "/usr/local/sbin",
        "/snap/bin",
        "/run/current-system/sw/bin",
        "/Applications/Tailscale.app/Contents/MacOS",
    ]
};
