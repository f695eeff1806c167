"""A perspective camera.

World coordinates are x forward, y left, z up; camera coordinates x right, y down, z forward.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from peftcorr.data.synthetic.solids import Array


@dataclass(frozen=True)
class Camera:
    """A pinhole camera without distortion; pixel centres lie on integers.

    Attributes:
        rotation: (3, 3), world to camera.
        translation: (3,), added after the rotation.
        focal: in pixels.
        principal: (x, y) in pixels.
        width: in pixels.
        height: in pixels.
    """

    rotation: Array
    translation: Array
    focal: float
    principal: tuple[float, float]
    width: int
    height: int

    def to_camera(self, points: Array) -> Array:
        """(N, 3) world points in camera coordinates."""
        return np.asarray(points @ self.rotation.T + self.translation)

    def project(self, points: Array) -> Array:
        """(N, 2) pixel positions of (N, 3) world points, all in front of the camera."""
        seen = self.to_camera(points)
        return np.asarray(seen[:, :2] / seen[:, 2:] * self.focal + np.asarray(self.principal))

    def slopes(self, x: Array, y: Array) -> tuple[Array, Array]:
        """Slopes (u, v) of the rays ``(u, v, 1)`` through pixel positions."""
        return (x - self.principal[0]) / self.focal, (y - self.principal[1]) / self.focal


def rotation_about(axis: int, degrees: float) -> Array:
    """(3, 3) right-handed rotation about a coordinate axis."""
    angle = np.deg2rad(degrees)
    c, s = np.cos(angle), np.sin(angle)
    matrix = np.eye(3)
    i, j = (axis + 1) % 3, (axis + 2) % 3
    matrix[i, i], matrix[i, j], matrix[j, i], matrix[j, j] = c, -s, s, c
    return matrix


def orbit(azimuth: float, elevation: float, roll: float) -> Array:
    """World-to-camera rotation of a camera that looks at the origin.

    Args:
        azimuth: degrees, 0 in front of the object (on +x), positive towards its left (+y).
        elevation: degrees above the horizon.
        roll: degrees, about the viewing axis.
    """
    a, e = np.deg2rad(azimuth), np.deg2rad(elevation)
    outward = np.array([np.cos(e) * np.cos(a), np.cos(e) * np.sin(a), np.sin(e)])
    right = np.array([-np.sin(a), np.cos(a), 0.0])
    upright = np.stack([right, -np.cross(outward, right), -outward])
    return np.asarray(rotation_about(2, roll) @ upright)
