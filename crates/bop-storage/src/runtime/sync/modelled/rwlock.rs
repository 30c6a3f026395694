//! A lock that readers share, of a model's threads.
//!
//! Never: taken again by a thread that has it.

use super::in_model;
use shuttle::sync as model;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::PoisonError;

/// `parking_lot::RwLock`.
#[derive(Default)]
pub struct RwLock<T: ?Sized> {
    turn: model::RwLock<()>,
    data: parking_lot::RwLock<T>,
}

/// `parking_lot::RwLockReadGuard`.
pub struct RwLockReadGuard<'a, T: ?Sized> {
    // Before the turn: it is dropped first.
    data: parking_lot::RwLockReadGuard<'a, T>,
    _turn: Option<model::RwLockReadGuard<'a, ()>>,
}

/// `parking_lot::RwLockWriteGuard`.
pub struct RwLockWriteGuard<'a, T: ?Sized> {
    data: parking_lot::RwLockWriteGuard<'a, T>,
    _turn: Option<model::RwLockWriteGuard<'a, ()>>,
}

impl<T> RwLock<T> {
    pub const fn new(data: T) -> Self {
        Self {
            turn: model::RwLock::new(()),
            data: parking_lot::RwLock::new(data),
        }
    }
}

impl<T: ?Sized> RwLock<T> {
    pub fn read(&self) -> RwLockReadGuard<'_, T> {
        let turn = in_model().then(|| self.turn.read().unwrap_or_else(PoisonError::into_inner));
        RwLockReadGuard {
            data: self.data.read(),
            _turn: turn,
        }
    }

    pub fn write(&self) -> RwLockWriteGuard<'_, T> {
        let turn = in_model().then(|| self.turn.write().unwrap_or_else(PoisonError::into_inner));
        RwLockWriteGuard {
            data: self.data.write(),
            _turn: turn,
        }
    }
}

impl<T: ?Sized> Deref for RwLockReadGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.data
    }
}

impl<T: ?Sized> Deref for RwLockWriteGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.data
    }
}

impl<T: ?Sized> DerefMut for RwLockWriteGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.data
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for RwLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.data.fmt(f)
    }
}
