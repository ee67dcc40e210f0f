-- Prosody as the harness measures it: XMPP over WebSocket with stream management, and accounts that
-- register themselves. Its files are below /tmp/anser-prosody, which must be there.
interfaces = { "127.0.0.1" }
http_interfaces = { "127.0.0.1" }
http_ports = { 5280 }
https_ports = { }
c2s_ports = { }
modules_enabled = {
    "saslauth", "presence", "message", "iq", "register_ibr", "websocket", "smacks",
}
modules_disabled = { "s2s", "tls" }
allow_registration = true
c2s_require_encryption = false
allow_unencrypted_plain_auth = true
authentication = "internal_plain"
storage = "internal"
data_path = "/tmp/anser-prosody/data"
pidfile = "/tmp/anser-prosody/pid"
certificates = "/tmp/anser-prosody"
log = { warn = "*console" }
run_as_root = true
VirtualHost "localhost"
