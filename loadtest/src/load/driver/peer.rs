//! Which protocol a run speaks, and where its server is.

use super::Driver;
use super::mqtt::Mqtt;
use super::seed::Seed;
use super::xmpp::Xmpp;
use crate::load::accounts::Target;
use crate::load::reach;
use crate::load::sockets::{Opening, Transport};
use crate::outcome::Outcome;
use anser::config::reached_at;
use anyhow::Result;
use serde::Serialize;
use std::net::SocketAddr;

/// What can be done in every protocol.
pub trait Play {
    /// Does it with this one.
    ///
    /// # Errors
    /// When a message is lost, changed, repeated or out of order, or the server refuses.
    fn with(&self, driver: impl Driver, outcome: &mut Outcome) -> Result<()>;
}

/// Which protocol to speak, and where a server of others is.
#[derive(Clone, Debug, Serialize, clap::Args)]
pub struct Peer {
    /// The protocol: `seed` is this server's own, at `--http` and `--ws`.
    #[arg(long, value_enum, default_value_t = Protocol::Seed)]
    pub protocol: Protocol,
    /// Where a server of another protocol listens [default: its usual port on this machine].
    #[arg(long, value_parser = reached_at)]
    #[serde(skip)]
    pub peer: Option<SocketAddr>,
    /// Where it upgrades to WebSocket [default: /mqtt or /xmpp-websocket].
    #[arg(long)]
    #[serde(skip)]
    pub path: Option<String>,
    /// The domain of its XMPP users.
    #[arg(long, default_value = "localhost")]
    #[serde(skip)]
    pub domain: String,
    /// Accounts that exist there, named PREFIX0, PREFIX1 and so on with the password `load`; by
    /// default each XMPP run registers its own.
    #[arg(long, value_name = "PREFIX")]
    #[serde(skip)]
    pub accounts: Option<String>,
}

/// The protocols that are spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// This server's own.
    Seed,
    /// MQTT 3.1.1 with QoS 1 over TCP.
    Mqtt,
    /// The same over WebSocket.
    MqttWs,
    /// XMPP over WebSocket (RFC 7395) with stream management.
    Xmpp,
}

impl Peer {
    /// This server's own protocol.
    pub fn seed() -> Peer {
        Peer {
            protocol: Protocol::Seed,
            peer: None,
            path: None,
            domain: "localhost".to_owned(),
            accounts: None,
        }
    }

    /// Looks whether the server of this protocol is there.
    ///
    /// # Errors
    /// When it is not, or something of it.
    pub fn check(&self, target: &Target) -> Result<()> {
        match self.protocol {
            Protocol::Seed => target.check(),
            _ => {
                reach::listens(self.opening(target).server, "--peer")?;
                target.check_watched()
            }
        }
    }

    /// Plays with the driver of this protocol.
    ///
    /// # Errors
    /// Those of the play, and names of users that the protocol cannot carry.
    pub fn play(&self, play: &impl Play, target: &Target, outcome: &mut Outcome) -> Result<()> {
        let opening = self.opening(target);
        match self.protocol {
            Protocol::Seed => play.with(Seed::new(opening), outcome),
            Protocol::Mqtt | Protocol::MqttWs => play.with(Mqtt::new(opening), outcome),
            Protocol::Xmpp => {
                let accounts = self.accounts.as_deref();
                play.with(Xmpp::new(opening, &self.domain, accounts)?, outcome)
            }
        }
    }

    /// How connections to it begin.
    fn opening(&self, target: &Target) -> Opening {
        let usual = |port| self.peer.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], port)));
        let upgrade = |usual: &str, protocol| Transport::WebSocket {
            path: self.path.clone().unwrap_or_else(|| usual.to_owned()),
            protocol,
        };
        match self.protocol {
            Protocol::Seed => Opening::seed(target.ws),
            Protocol::Mqtt => Opening { server: usual(1883), transport: Transport::Stream },
            Protocol::MqttWs => {
                Opening { server: usual(8083), transport: upgrade("/mqtt", Some("mqtt")) }
            }
            Protocol::Xmpp => {
                let transport = upgrade("/xmpp-websocket", Some("xmpp"));
                Opening { server: usual(5280), transport }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        target: Target,
        #[command(flatten)]
        peer: Peer,
    }

    fn opening(arguments: &[&str]) -> Opening {
        let line = Line::parse_from([&["test"], arguments].concat());
        line.peer.opening(&line.target)
    }

    #[test]
    fn each_protocol_is_looked_for_where_its_servers_usually_are() {
        assert_eq!(opening(&[]), Opening::seed(([127, 0, 0, 1], 6666).into()));
        let mqtt = opening(&["--protocol", "mqtt", "--peer", "127.0.0.1:1884"]);
        let server = SocketAddr::from(([127, 0, 0, 1], 1884));
        assert_eq!(mqtt, Opening { server, transport: Transport::Stream });
        let xmpp = opening(&["--protocol", "xmpp", "--path", "/ws"]);
        let transport = Transport::WebSocket { path: "/ws".to_owned(), protocol: Some("xmpp") };
        assert_eq!(xmpp, Opening { server: ([127, 0, 0, 1], 5280).into(), transport });
    }
}
