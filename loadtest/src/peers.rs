//! Servers of others as child processes, on folders and ports of their own: mosquitto (MQTT over
//! TCP and WebSocket) and Prosody (XMPP over WebSocket).
//!
//! `tools/peers` puts both under the build's output folder where the machine has none. Their
//! settings are those of `loadtest/peers`, on free ports and in a folder of their own.

use crate::programs;
use crate::server::{Folder, Process, eventually};
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};

/// A server of another project. Dropping it kills it by its id and removes its folder.
#[derive(Debug)]
pub struct PeerServer {
    /// Its ports, in the order in which they are documented.
    pub ports: Vec<SocketAddr>,
    /// Its process id.
    pub id: u32,
    _process: Process,
    _folder: Folder,
}

/// Starts mosquitto; its ports are those of TCP and of WebSocket.
///
/// # Errors
/// Says in words that there is none.
pub fn mosquitto() -> Result<PeerServer, String> {
    let program = programs::find("mosquitto", "mosquitto")?;
    let (folder, ports) = (Folder::new(), free_ports(2));
    let file = folder.path().join("mosquitto.conf");
    let settings = include_str!("../peers/mosquitto.conf");
    let port = |place: usize| ports[place].port().to_string();
    let listener = |port: &str| format!("listener {port}");
    let settings = settings
        .replace(&listener("1883"), &listener(&port(0)))
        .replace(&listener("8083"), &listener(&port(1)));
    fs::write(&file, settings).expect("the folder was just made");
    let mut command = Command::new(program);
    command.arg("-c").arg(file);
    Ok(start(command, folder, ports))
}

/// Starts Prosody; its port is that of HTTP, where WebSocket is.
///
/// # Errors
/// Says in words that there is none.
pub fn prosody() -> Result<PeerServer, String> {
    let program = programs::find("prosody", "prosody")?;
    let (folder, ports) = (Folder::new(), free_ports(1));
    let file = folder.path().join("prosody.cfg.lua");
    let (port, home) = (ports[0].port().to_string(), folder.path().display().to_string());
    let settings = include_str!("../peers/prosody.cfg.lua");
    let settings = settings.replace("5280", &port).replace("/tmp/anser-prosody", &home);
    fs::write(&file, settings).expect("the folder was just made");
    let mut command = Command::new(program);
    command.arg("--config").arg(file).arg("-F");
    Ok(start(command, folder, ports))
}

/// Ports that nobody listens on.
fn free_ports(count: usize) -> Vec<SocketAddr> {
    let listen = |_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    // All at once, so that no two are the same.
    let listeners: Vec<TcpListener> = (0..count).map(listen).collect();
    listeners.iter().map(|one| one.local_addr().expect("it listens")).collect()
}

/// Starts a server, and waits until it listens on all its ports.
#[track_caller]
fn start(mut command: Command, folder: Folder, ports: Vec<SocketAddr>) -> PeerServer {
    let log = folder.path().join("log");
    let file = fs::File::create(&log).expect("the folder was just made");
    let errors = file.try_clone().expect("a plain file");
    command.stdin(Stdio::null()).stdout(file).stderr(errors);
    let child = command.spawn().expect("it can be run");
    let (id, process) = (child.id(), Process::watched(child, folder.path()));
    for port in &ports {
        eventually("it listens", || TcpStream::connect(port).ok());
    }
    PeerServer { ports, id, _process: process, _folder: folder }
}
