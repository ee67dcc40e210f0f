//! How the tree of rows grows and shrinks.
//!
//! A node that is full splits where the new entry goes: behind it all when keys rise, so that a
//! stream of rising keys fills its nodes even where another stream follows it.
//!
//! Invariants:
//! 1. The first entry of a node above the leaves has the empty key. Each other one has a key
//!    above all before it and not above those that it leads to: the fence of the leaf before it.
//! 2. Each node knows its parent, and its neighbours on its level.

use super::node::{Entry, FAN_OUT, Head, Node};
use super::{MERGED_MAX, NONE, Spot, Tree};

impl Tree {
    /// Puts an entry into a node, which splits if it is full. Returns where it lies.
    pub(super) fn insert(&mut self, node: u32, at: usize, entry: Entry) -> Spot {
        if self.node(node).is_full() {
            return self.split(node, at, entry);
        }
        let place = self.node_mut(node);
        place.insert(at, entry);
        if place.level > 0 {
            self.node_mut(entry.target).parent = node;
        }
        Spot { leaf: node, slot: at as u32 }
    }

    fn split(&mut self, node: u32, at: usize, entry: Entry) -> Spot {
        let level = self.node(node).level;
        let right = self.take_node(level);
        self.link_behind(node, right);
        let [one, other] = self.both(node, right);
        one.move_to(at, other);
        self.adopt(right);
        let spot = match at {
            FAN_OUT => self.insert(right, 0, entry),
            _ => self.insert(node, at, entry),
        };
        let mut separator = self.separator(right);
        if level == 0 {
            let [one, other] = self.both(node, right);
            other.fence = std::mem::replace(&mut one.fence, separator);
        }
        separator.target = right;
        self.hang(node, separator);
        self.settle(node);
        self.settle(right);
        spot
    }

    /// The key from which a node holds all: a copy of its first row's, or its first entry's own.
    fn separator(&mut self, node: u32) -> Entry {
        let Entry { head, mut block, .. } = self.node(node).entries()[0];
        if self.node(node).level > 0 {
            let first = self.node_mut(node).entry_mut(0);
            (first.head, first.block) = (Head::EMPTY, NONE);
        } else {
            block = match head.is_long() {
                true => self.blocks.copy(block, head.key_size()),
                false => NONE,
            };
        }
        Entry { head, block, target: NONE }
    }

    /// Puts what leads to a new node behind what leads to `node`, under a new root if there is
    /// nothing above.
    fn hang(&mut self, node: u32, separator: Entry) {
        let parent = self.node(node).parent;
        if parent != NONE {
            let slot = self.node(parent).slot_of(node);
            self.insert(parent, slot + 1, separator);
            return;
        }
        assert!(node == self.root, "all other nodes have a parent");
        self.root = self.take_node(self.node(node).level + 1);
        self.insert(self.root, 0, Entry { target: node, ..Entry::EMPTY });
        self.insert(self.root, 1, separator);
    }

    /// Merges a node with its neighbours as long as both fit into half a node. What follows
    /// higher up can merge it too: then it is free, and nothing is left to do.
    pub(super) fn settle(&mut self, mut node: u32) {
        while self.node(node).level != NONE {
            let Node { before, next, .. } = *self.node(node);
            if self.fit_together(before, node) {
                self.merge(before, node);
                node = before;
            } else if self.fit_together(node, next) {
                self.merge(node, next);
            } else {
                return;
            }
        }
    }

    fn fit_together(&self, node: u32, next: u32) -> bool {
        if node == NONE || next == NONE {
            return false;
        }
        let (node, next) = (self.node(node), self.node(next));
        node.parent == next.parent && node.count() + next.count() <= MERGED_MAX
    }

    /// Moves all of `next` into `node`, both under one parent.
    fn merge(&mut self, node: u32, next: u32) {
        let parent = self.node(next).parent;
        let slot = self.node(parent).slot_of(next);
        let separator = self.node_mut(parent).remove(slot);
        let [one, other] = self.both(node, next);
        if one.level == 0 {
            one.fence = other.fence;
            self.forget(separator);
        } else {
            let first = other.entry_mut(0);
            (first.head, first.block) = (separator.head, separator.block);
        }
        let [one, other] = self.both(node, next);
        let (seam, is_leaf) = (one.entries()[one.count() - 1].target, one.level == 0);
        other.move_to(0, one);
        self.adopt(node);
        self.unlink(next);
        self.narrow(parent);
        if !is_leaf {
            // Two of its children have become neighbours under one parent.
            self.settle(seam);
        }
    }

    /// Takes an empty leaf out, and what is empty above it then. Its neighbour holds from now on
    /// what it would have held.
    pub(super) fn drop_leaf(&mut self, leaf: u32) {
        if leaf == self.root {
            return;
        }
        let Node { before, fence, .. } = *self.node(leaf);
        let mut node = leaf;
        let mut parent = self.node(node).parent;
        while self.node(parent).count() == 1 {
            self.unlink(node);
            node = parent;
            parent = self.node(node).parent;
            assert!(parent != NONE, "a root leads to two nodes at least");
        }
        let slot = self.node(parent).slot_of(node);
        let mut separator = self.node_mut(parent).remove(slot);
        if slot > 0 {
            self.node_mut(before).fence = fence;
        } else {
            let first = self.node_mut(parent).entry_mut(0);
            separator = *first;
            (first.head, first.block) = (Head::EMPTY, NONE);
        }
        self.forget(separator);
        self.unlink(node);
        self.narrow(parent);
    }

    /// A node above the leaves has lost an entry.
    fn narrow(&mut self, node: u32) {
        if node != self.root {
            return self.settle(node);
        }
        while self.node(self.root).level > 0 && self.node(self.root).count() == 1 {
            let child = self.node(self.root).entries()[0].target;
            self.unlink(self.root);
            self.node_mut(child).parent = NONE;
            self.root = child;
        }
    }

    /// Frees the key of an entry that leads nowhere any more.
    fn forget(&mut self, separator: Entry) {
        if separator.head.is_long() {
            self.blocks.free(separator.block, separator.head.key_size());
        }
    }

    /// Tells all children of a node so.
    fn adopt(&mut self, node: u32) {
        if self.node(node).level == 0 {
            return;
        }
        for slot in 0..self.node(node).count() {
            let child = self.node(node).entries()[slot].target;
            self.node_mut(child).parent = node;
        }
    }

    fn both(&mut self, one: u32, other: u32) -> [&mut Node; 2] {
        let both = self.nodes.get_disjoint_mut([one as usize, other as usize]);
        both.expect("two different nodes of the array")
    }

    fn link_behind(&mut self, node: u32, new: u32) {
        let next = std::mem::replace(&mut self.node_mut(node).next, new);
        (self.node_mut(new).before, self.node_mut(new).next) = (node, next);
        if next != NONE {
            self.node_mut(next).before = new;
        }
    }

    /// Takes a node out of its level and gives it back.
    fn unlink(&mut self, node: u32) {
        let Node { before, next, .. } = *self.node(node);
        if before != NONE {
            self.node_mut(before).next = next;
        }
        if next != NONE {
            self.node_mut(next).before = before;
        }
        self.give_back(node);
    }

    /// An empty node without a parent.
    pub(super) fn take_node(&mut self, level: u32) -> u32 {
        if self.free == NONE {
            let node = u32::try_from(self.nodes.len()).expect("4 G nodes do not fit in memory");
            assert!(node != NONE, "the last number is nobody's");
            self.nodes.push(Node::FREE);
            self.give_back(node);
        }
        let node = self.free;
        self.free = self.node(node).next;
        let place = self.node_mut(node);
        (place.level, place.next) = (level, NONE);
        node
    }

    pub(super) fn give_back(&mut self, node: u32) {
        let next = std::mem::replace(&mut self.free, node);
        self.node_mut(node).clear(next);
    }
}
