//! A small disk, whose power can be cut: an ext4 file system in a file, which lies in another ext4
//! file system in a file.
//!
//! `EXT4_IOC_SHUTDOWN` ends all input and output of the outer one at once, without writing out its
//! journal: what the inner one had not flushed to it is gone when both are mounted again. So the
//! outer one is the disk with its volatile cache, and a write that has reached the device stays
//! only if it was synced.

use crate::server::{output_folder, pause};
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

/// The ioctl with `EXT4_GOING_FLAGS_NOLOGFLUSH`, on the file system of the folder named.
const SHUTDOWN: &str = r#"open(my $folder, "<", $ARGV[0]) or die "$!";
    ioctl($folder, 0x8004587d, my $flags = pack("L", 2)) or die "EXT4_IOC_SHUTDOWN: $!";"#;

/// The disk. It goes away with its owner.
pub struct Disk {
    folder: PathBuf,
    image: PathBuf,
    /// Where the outer file system is mounted, and the file in it.
    device: PathBuf,
    device_image: PathBuf,
    watchdog: Child,
}

impl Disk {
    /// What this machine lacks for it; `None`: nothing.
    pub fn is_missing() -> Option<&'static str> {
        let runs = |program: &str, argument: &str| {
            let quiet = Command::new(program)
                .arg(argument)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status();
            quiet.is_ok()
        };
        if !rustix::process::geteuid().is_root() {
            return Some("root");
        }
        if !Path::new("/dev/loop-control").exists() {
            return Some("loop devices");
        }
        if !runs("mkfs.ext4", "-V") {
            return Some("mkfs.ext4");
        }
        (!runs("perl", "-v")).then_some("perl")
    }

    /// Makes an empty one of so many bytes, in a sparse file.
    ///
    /// # Errors
    /// Where the machine has no loop devices, or lets nobody mount.
    pub fn make(scratch: Option<&Path>, bytes: u64) -> Result<Disk> {
        if let Some(missing) = Disk::is_missing() {
            anyhow::bail!("to make a disk this machine lacks {missing}");
        }
        let scratch = scratch.map_or_else(|| output_folder().join("power"), Path::to_owned);
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{}-{count}", std::process::id());
        let (folder, device) = (scratch.join(&name), scratch.join(format!("{name}-device")));
        let (image, device_image) = (device.join("image"), scratch.join(name + ".img"));
        fs::create_dir_all(&folder).context("the scratch folder")?;
        fs::create_dir_all(&device).context("the scratch folder")?;
        // Should this process die first, the kernel closes the pipe and the shell cleans up.
        let mut shell = Command::new("sh");
        let clean = r#"read line; umount -l "$0"; umount -l "$1"; rm -f "$2"; rmdir "$0" "$1""#;
        shell.args(["-c", clean]).arg(&folder).arg(&device).arg(&device_image);
        shell.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let watchdog = shell.spawn()?;
        let disk = Disk { folder, image, device, device_image, watchdog };
        format(&disk.device_image, bytes + bytes / 4)?;
        mount(&disk.device_image, &disk.device)?;
        format(&disk.image, bytes)?;
        mount(&disk.image, &disk.folder)?;
        // The empty file system itself outlives a cut.
        run(Command::new("sync").arg("-f").arg(&disk.folder))?;
        run(Command::new("sync").arg("-f").arg(&disk.device))?;
        Ok(disk)
    }

    /// Where it is mounted.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// From now on nothing reaches the disk.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn cut_power(&self) -> Result<()> {
        run(Command::new("perl").args(["-e", SHUTDOWN]).arg(&self.device))
    }

    /// Mounts it again, as a machine does that starts. Nobody may use it.
    ///
    /// # Errors
    /// When it is in use, or no file system any more.
    pub fn switch_on(&self) -> Result<()> {
        unmount(&self.folder)?;
        unmount(&self.device)?;
        mount(&self.device_image, &self.device)?;
        mount(&self.image, &self.folder)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Its pipe closes, and it does all the rest.
        drop(self.watchdog.stdin.take());
        let _ = self.watchdog.wait();
    }
}

fn format(image: &Path, bytes: u64) -> Result<()> {
    fs::File::create(image)?.set_len(bytes)?;
    run(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(image))
}

fn mount(image: &Path, folder: &Path) -> Result<()> {
    run(Command::new("mount").args(["-t", "ext4", "-o", "loop"]).arg(image).arg(folder))
}

/// The kernel may hold files of a process that is gone for a moment longer.
fn unmount(folder: &Path) -> Result<()> {
    let deadline = Instant::now() + crate::PATIENCE;
    loop {
        match run(Command::new("umount").arg(folder)) {
            Err(error) if Instant::now() > deadline => return Err(error),
            Err(_) => pause(),
            Ok(()) => return Ok(()),
        }
    }
}

fn run(command: &mut Command) -> Result<()> {
    let done = command.output().with_context(|| format!("{command:?}"))?;
    let said = String::from_utf8_lossy(&done.stderr);
    ensure!(done.status.success(), "{command:?}: {said}");
    Ok(())
}
