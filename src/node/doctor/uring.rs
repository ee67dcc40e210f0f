//! The kernel and its io_uring: is it there, allowed, and new enough.

use super::{Check, Verdict};
use io_uring::{IoUring, Probe, opcode};
use std::io;

/// The first kernel with DEFER_TASKRUN, multishot accept and recv, and buffer rings.
const KERNEL_MIN: (u32, u32) = (6, 1);

/// The kernel's version.
pub fn kernel() -> Check {
    let name = rustix::system::uname();
    let (verdict, words) = judge_kernel(&name.release().to_string_lossy());
    Check::new("kernel", verdict, words)
}

/// `6.18.44-something` -> (6, 18).
fn version(release: &str) -> Option<(u32, u32)> {
    let mut parts = release.split(|letter: char| !letter.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

pub(super) fn judge_kernel(release: &str) -> (Verdict, String) {
    match version(release) {
        Some(found) if found >= KERNEL_MIN => (Verdict::Ok, release.to_owned()),
        Some(_) => (Verdict::Fail, format!("{release}: Linux 6.1 or newer is needed")),
        None => {
            (Verdict::Warn, format!("{release}: not a version that we can read, 6.1 is needed"))
        }
    }
}

/// A ring as every shard makes one, and what it can do.
pub fn ring() -> Check {
    let (verdict, words) = match try_ring() {
        Ok(missing) if missing.is_empty() => {
            (Verdict::Ok, "there, with all operations needed".to_owned())
        }
        Ok(missing) => {
            let words = format!("lacks {}: Linux 6.1 or newer is needed", missing.join(", "));
            (Verdict::Fail, words)
        }
        Err(error) => (Verdict::Fail, in_words(&error, disabled().as_deref())),
    };
    Check::new("io_uring", verdict, words)
}

/// Operations that are missing.
fn try_ring() -> io::Result<Vec<&'static str>> {
    let ring: IoUring =
        IoUring::builder().setup_single_issuer().setup_defer_taskrun().setup_clamp().build(8)?;
    let mut probe = Probe::new();
    ring.submitter().register_probe(&mut probe)?;
    // Multishot recv has no code of its own; SEND_ZC stands for it, they came together (6.0).
    let needed = [
        ("ACCEPT", opcode::AcceptMulti::CODE),
        ("RECV", opcode::RecvMulti::CODE),
        ("SEND", opcode::Send::CODE),
        ("ASYNC_CANCEL", opcode::AsyncCancel::CODE),
        ("TIMEOUT", opcode::Timeout::CODE),
        ("PROVIDE_BUFFERS", opcode::ProvideBuffers::CODE),
        ("SEND_ZC", opcode::SendZc::CODE),
    ];
    let missing = needed.into_iter().filter(|(_, code)| !probe.is_supported(*code));
    Ok(missing.map(|(name, _)| name).collect())
}

/// `kernel.io_uring_disabled`, where the kernel has it.
fn disabled() -> Option<String> {
    let text = std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled").ok()?;
    Some(text.trim().to_owned())
}

pub(super) fn in_words(error: &io::Error, disabled: Option<&str>) -> String {
    match (error.kind(), disabled) {
        (_, Some(setting @ ("1" | "2"))) => {
            format!("switched off: `sysctl kernel.io_uring_disabled=0` (it is {setting})")
        }
        (io::ErrorKind::PermissionDenied, _) => "forbidden, most likely by a container's seccomp \
             profile: allow io_uring_setup, io_uring_enter and io_uring_register \
             (docker run --security-opt seccomp=unconfined)"
            .to_owned(),
        (io::ErrorKind::Unsupported, _) => {
            "not in this kernel, or hidden by a sandbox: Linux 6.1 or newer is needed".to_owned()
        }
        (io::ErrorKind::InvalidInput, _) => {
            "too old (SINGLE_ISSUER and DEFER_TASKRUN): Linux 6.1 or newer is needed".to_owned()
        }
        (io::ErrorKind::OutOfMemory, _) => {
            "no memory for a ring: raise `ulimit -l`, or stop what else holds rings".to_owned()
        }
        _ => format!("cannot make a ring: {error}"),
    }
}
