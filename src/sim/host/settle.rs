//! What becomes of lines after a round, as in `node::settle` and `node::handoff`.

use super::{Ground, Host, Moving};
use crate::chat::way::Habits;
use crate::limits::UNSENT_BYTES_MAX;
use crate::sim::chronicle::Halt;
use crate::sim::coverage::Stage;
use crate::sim::lines::{Errand, Flags, Line, Token, id_of};
use crate::sim::mesh::Parcel;
use crate::wire::session::CloseCode;

impl Host {
    /// Settles all lines that changed.
    pub(super) fn settle_touched(&mut self, ground: &mut Ground<'_>) -> Result<(), Halt> {
        for token in std::mem::take(&mut self.touched) {
            if let Some(line) = self.lines.get(token) {
                line.flags.touched = false;
                self.settle(token, ground)?;
            }
        }
        Ok(())
    }

    fn settle(&mut self, token: Token, ground: &mut Ground<'_>) -> Result<(), Halt> {
        self.cut_if_unread(token, ground);
        self.say_farewell(token);
        let Some(line) = self.lines.get(token) else { return Ok(()) };
        if line.is_leaving() {
            self.flush(token, ground);
            self.hand_off(token, ground)?;
        } else {
            if line.unsent() == 0 && line.errand.is_some() && !line.is_over() {
                self.continue_list(token, ground)?;
            }
            self.flush(token, ground);
            self.close_if_done(token, ground);
        }
        self.remove_if_dead(token, ground)
    }

    /// What was sent is with the socket.
    pub fn sent(&mut self, token: Token) {
        if let Some(line) = self.lines.get(token) {
            line.sending = 0;
        }
        self.touch(token);
    }

    /// Hands what was written to the socket, unless a send is in flight.
    fn flush(&mut self, token: Token, ground: &mut Ground<'_>) {
        let Some(line) = self.lines.get(token) else { return };
        if line.flags.dead {
            line.out.clear();
        }
        if line.out.is_empty() || line.sending > 0 {
            return;
        }
        let bytes = std::mem::take(&mut line.out);
        line.sending = bytes.len();
        let words = format_args!("sends {} bytes to c{}", bytes.len(), line.socket.0);
        ground.chronicle.tell(self.place.shard, words);
        ground.network.send_down(line.socket, &bytes, &mut ground.chronicle);
    }

    /// Shuts our side when all is said; ends when both are shut.
    fn close_if_done(&mut self, token: Token, ground: &mut Ground<'_>) {
        let Some(line) = self.lines.get(token) else { return };
        if line.flags.ended && !line.flags.dead && line.waiting == 0 {
            if !line.session.is_closing() {
                line.session.end_of_input();
            }
            let owes = line.session.is_awaiting() || line.flags.ready || line.flags.parked;
            if !line.session.is_closing() && !owes && line.errand.is_none() {
                line.flags.dead = line.unsent() == 0;
                return;
            }
        }
        if !line.session.is_closing() || line.unsent() > 0 || line.flags.dead {
            return;
        }
        if line.flags.ended {
            line.flags.dead = true;
        } else if !line.flags.shut {
            line.flags.shut = true;
            ground.network.end_down(line.socket);
        }
    }

    /// A peer who does not read: what waits for it is dropped.
    fn cut_if_unread(&mut self, token: Token, ground: &mut Ground<'_>) {
        let Some(line) = self.lines.get(token) else { return };
        if line.unsent() <= UNSENT_BYTES_MAX || line.is_over() {
            return;
        }
        line.out.clear();
        line.window.clear();
        line.session.close(CloseCode::TryAgain, &mut line.out);
        let errand = line.errand.take();
        self.drop_errand(token, errand, ground);
        self.touch(token);
    }

    /// Tells the rules that an authenticated connection is gone.
    fn say_farewell(&mut self, token: Token) {
        let id = id_of(self.place.shard, token);
        let Some(line) = self.lines.get(token) else { return };
        let is_gone = line.is_over() || line.flags.ended && line.waiting == 0;
        let Some(user) = line.session.user().filter(|_| is_gone) else { return };
        if !std::mem::replace(&mut line.flags.farewell, true) {
            self.departed.push((id, user));
        }
    }

    fn remove_if_dead(&mut self, token: Token, ground: &mut Ground<'_>) -> Result<(), Halt> {
        self.say_farewell(token);
        let Some(line) = self.lines.get(token) else { return Ok(()) };
        if !line.flags.dead || line.sending > 0 || line.waiting > 0 {
            return Ok(());
        }
        let Some(line) = self.lines.remove(token) else { return Ok(()) };
        ground.chronicle.tell(self.place.shard, format_args!("closes c{}", line.socket.0));
        ground.network.end_down(line.socket);
        ground.network.listen(line.socket, None);
        self.drop_errand(token, line.errand, ground);
        ground.chronicle.pass(self.place.shard, Stage::Closed)
    }

    /// Nobody waits for the rest of a list any more.
    fn drop_errand(&mut self, token: Token, errand: Option<Errand>, ground: &mut Ground<'_>) {
        if let Some(Errand::ListFrom(shard)) = errand {
            self.forwarded -= 1;
            let id = id_of(self.place.shard, token);
            ground.mesh.post(self.place.shard, shard, Parcel::Abandon(id));
        }
    }

    /// Lets a leaving line go as soon as nothing of it is in flight.
    fn hand_off(&mut self, token: Token, ground: &mut Ground<'_>) -> Result<(), Halt> {
        let Some(line) = self.lines.get(token) else { return Ok(()) };
        if line.sending > 0 || line.waiting > 0 || line.flags.dead {
            return Ok(());
        }
        let Some(Line { socket, session, window, out, flags, errand, .. }) =
            self.lines.remove(token)
        else {
            return Ok(());
        };
        let Some(Errand::Leave(to, request)) = errand else { unreachable!("it was leaving") };
        let me = self.place.shard;
        let words = format_args!("c{} leaves for s{to} with {} bytes", socket.0, window.len());
        ground.chronicle.tell(me, words);
        ground.network.listen(socket, None);
        let moving = Moving { socket, session, window, out, ended: flags.ended, request };
        ground.mesh.post(me, to, Parcel::Move(Box::new(moving)));
        ground.chronicle.pass(me, Stage::Left)
    }

    /// Takes over a line and applies the request that made it come.
    pub(super) fn take_over(
        &mut self,
        moving: Moving,
        ground: &mut Ground<'_>,
    ) -> Result<(), Halt> {
        let Moving { socket, session, window, out, ended, request } = moving;
        let mut line = Line::new(socket, session);
        line.window = window;
        line.out = out;
        line.habits = Habits::moved(self.now.steady_ms as u32);
        line.flags = Flags { ended, ..Flags::default() };
        let token = self.lines.insert(line);
        ground.network.listen(socket, Some((self.place.shard, token)));
        self.touch(token);
        ground.chronicle.tell(self.place.shard, format_args!("takes over c{}", socket.0));
        ground.chronicle.pass(self.place.shard, Stage::TakenOver)?;
        self.admit(id_of(self.place.shard, token), request, ground)
    }
}
