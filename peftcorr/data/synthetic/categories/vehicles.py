"""Vehicles: a car, an aeroplane and a bicycle."""

from __future__ import annotations

import numpy as np

from peftcorr.data.synthetic.builder import Builder, heading
from peftcorr.data.synthetic.categories.parts import SIDES, category, vec
from peftcorr.data.synthetic.materials import plain_material
from peftcorr.data.synthetic.solids import Shape


@category("front_*_wheel rear_*_wheel *_headlight *_taillight *_mirror roof_front_* roof_rear_*")
def car(b: Builder) -> None:
    """A car with a bonnet and a cabin."""
    b.paint("body", "cabin", plain=0.55)
    b.colours(glass=(0.1, 0.45, 0.9), tyre=(0.03, 0.2, 0.3), rim=(0.5, 0.95, 0.3), lamp=(0.85, 1.0, 0.8))
    b.materials["brake"] = plain_material(np.array([b.look.uniform(0.6, 1.0), 0.1, 0.08]), gloss=0.6)
    length, width, height = b.size(0.95, 1.25), b.size(0.42, 0.55), b.size(0.17, 0.27)
    b.box((0, 0, 0), (length, width, height), "body")
    b.box((0, 0, -height * 0.6), (length * 1.04, width * 0.96, height * 0.25), "tyre")

    front, rear = b.size(0.05, 0.4) * length, -b.size(0.45, 0.95) * length
    tall, lean, tail = b.size(0.2, 0.38), b.size(0.1, 0.4), b.size(0.0, 0.25)
    centre, half = (front + rear) / 2, (front - rear) / 2
    b.box((centre, 0, height + tall), (half, width * 0.86, tall), "cabin")
    for x, slope in ((front, lean), (rear, -tail)):
        thick = vec(slope / 2 + 0.01 * np.sign(slope), 0, 0)
        axes = (thick, vec(0, width * 0.85, 0), vec(-slope / 2, 0, tall))
        b.solid(Shape.BOX, axes, vec(x + slope * 0.5, 0, height + tall * 0.98), "glass")
    for sign in (1.0, -1.0):
        b.box((centre, width * 0.865 * sign, height + tall * 0.95), (half * 0.85, 0.012, tall * 0.6), "glass")
    for end, x in (("front", front), ("rear", rear)):
        for side, sign in SIDES:
            b.mark(f"roof_{end}_{side}", vec(x, width * 0.86 * sign, height + 2 * tall), slack=0.05)

    radius = b.size(0.2, 0.3)
    axle_height = -height - radius * 0.25
    steer = b.bend(25)
    for end, x in (("front", length * 0.62), ("rear", -length * 0.62)):
        for side, sign in SIDES:
            axle = heading(steer if end == "front" else 0, 0)[:, 1]
            hub = vec(x, width * 0.93 * sign, axle_height)
            b.wheel(hub, axle, radius, 0.1, 0.55, "tyre")
            b.rod(hub - axle * 0.07, hub + axle * 0.07, radius * 0.56, f"rim/{end}")
            b.mark(f"{end}_{side}_wheel", hub + axle * 0.07 * sign)

    lamp, lamp_height = b.size(0.08, 0.13), height * b.size(0.1, 0.5)
    for side, sign in SIDES:
        y = width * 0.72 * sign
        b.ellipsoid((length, y, lamp_height), (0.05, lamp, lamp * 0.75), "lamp")
        b.mark(f"{side}_headlight", vec(length + 0.045, y, lamp_height))
        b.box((-length, y, lamp_height), (0.03, lamp, lamp * 0.6), "brake")
        b.mark(f"{side}_taillight", vec(-length - 0.03, y, lamp_height))
        mirror = vec(front + 0.5 * lean, (width + 0.08) * sign, height + 0.08)
        b.ellipsoid(mirror, (0.05, 0.1, 0.07), "body/mirror")
        b.mark(f"{side}_mirror", mirror, slack=0.09)


@category(
    "nose cockpit tail_end fin_top *_wing_tip *_engine *_stabiliser_tip",
    elevation=(-25.0, 50.0),
    grounded=False,
)
def aeroplane(b: Builder) -> None:
    """An aeroplane with two engines under its wings."""
    b.paint("body", "wing", "tail", "engine", like=0.5, plain=0.5)
    b.colours(glass=(0.05, 0.35, 0.9))
    b.materials["left"] = plain_material(np.array([0.9, 0.1, 0.1]), gloss=0.6)  # as aeroplanes are lit
    b.materials["right"] = plain_material(np.array([0.1, 0.8, 0.2]), gloss=0.6)
    length, girth = b.size(0.95, 1.25), b.size(0.13, 0.22)
    b.ellipsoid((0, 0, 0), (length, girth, girth), "body")
    b.rod((length * 0.45, 0, 0), (-length * 0.98, 0, girth * 0.3), girth * 0.92, "body/tail", taper=0.3)
    b.mark("nose", (length, 0, 0))
    b.ellipsoid((length * 0.78, 0, girth * 0.42), (0.12, girth * 0.5, girth * 0.3), "glass")
    b.mark("cockpit", (length * 0.8, 0, girth * 0.7), slack=0.04)
    b.mark("tail_end", (-length * 0.98, 0, girth * 0.3), slack=0.06)

    span, sweep, dihedral = b.size(0.85, 1.3), b.size(0.0, 0.55), b.size(-0.05, 0.25)
    chord, place = b.size(0.16, 0.28), b.size(-0.05, 0.25)
    high = b.size(-0.6, 0.7) * girth
    engines_out = b.size(0.3, 0.5)
    for side, sign in SIDES:
        root = vec(place, girth * 0.5 * sign, high)
        tip = vec(place - sweep, span * sign, high + dihedral)
        b.blade(root, tip, vec(chord, 0, 0), vec(0, 0, 0.05), "wing", taper=0.4)
        b.ellipsoid(tip, (chord * 0.5, 0.06, 0.05), side)
        b.mark(f"{side}_wing_tip", tip, slack=0.07)
        engine = root + engines_out * (tip - root) + vec(chord * 0.6, 0, -0.11)
        b.rod(engine - vec(0.16, 0, 0), engine + vec(0.16, 0, 0), 0.095, "engine", taper=1.0)
        b.ellipsoid(engine + vec(0.16, 0, 0), (0.05, 0.07, 0.07), "glass")
        b.mark(f"{side}_engine", engine + vec(0.2, 0, 0), slack=0.04)
        flat = vec(-length * 0.85, girth * 0.2 * sign, girth * 0.35)
        far = vec(-length * 0.85 - sweep * 0.4, 0.38 * sign, girth * 0.4)
        b.blade(flat, far, vec(0.12, 0, 0), vec(0, 0, 0.035), "tail", taper=0.55)
        b.mark(f"{side}_stabiliser_tip", far, slack=0.05)
    fin = vec(-length * 0.98 - sweep * 0.3, 0, girth + b.size(0.3, 0.55))
    b.blade((-length * 0.82, 0, girth * 0.3), fin, vec(0.17, 0, 0), vec(0, 0.035, 0), "tail/fin", taper=0.5)
    b.mark("fin_top", fin, slack=0.04)


@category(
    "front_hub rear_hub front_wheel_bottom rear_wheel_bottom saddle_front saddle_rear bottom_bracket "
    "head_tube seat_joint *_grip *_pedal"
)
def bicycle(b: Builder) -> None:
    """A bicycle."""
    b.paint("frame", "fork", plain=0.6)
    b.colours(tyre=(0.03, 0.25, 0.3), rim=(0.5, 0.9, 0.3), saddle=(0.1, 0.8, 0.3), grip=(0.05, 0.6, 0.3))
    radius, base = b.size(0.36, 0.5), b.size(0.52, 0.68)
    tube = b.size(0.035, 0.06)
    front, rear = vec(base, 0, 0), vec(-base, 0, 0)
    bracket = vec(-base * 0.08, 0, -radius * 0.15)
    seat = vec(-base * 0.4, 0, radius * b.size(1.15, 1.6))
    head = vec(base * 0.66, 0, radius * b.size(1.15, 1.55))
    joint = seat - (seat - bracket) * 0.25
    for start, end in ((rear, bracket), (bracket, seat), (rear, joint), (bracket, head), (joint, head)):
        b.rod(start, end, tube, "frame")
    saddle = seat + vec(0, 0, 0.08)
    b.ellipsoid(saddle, (0.2, 0.1, 0.055), "saddle")
    b.mark("saddle_front", saddle + vec(0.19, 0, 0))
    b.mark("saddle_rear", saddle - vec(0.19, 0, 0))
    b.mark("bottom_bracket", bracket, slack=0.1)
    b.mark("head_tube", head, slack=0.09)
    b.mark("seat_joint", joint, slack=0.08)

    steer = heading(b.bend(30), 0)
    b.rod(front, head, tube, "fork")
    stem = head + vec(-0.03, 0, 0.14)
    b.rod(head, stem, tube, "fork")
    reach, drop = b.size(-0.15, 0.15), b.size(-0.05, 0.12)
    half_bar = b.size(0.28, 0.42)
    for side, sign in SIDES:
        grip = stem + steer @ vec(reach, half_bar * sign, drop)
        b.rod(stem, grip, 0.035, "fork")
        b.ball(grip, 0.07, "grip")
        b.mark(f"{side}_grip", grip, slack=0.08)
    for name, hub, frame in (("front", front, steer), ("rear", rear, np.eye(3))):
        b.wheel(hub, frame[:, 1], radius, 0.045, 0.8, "tyre")
        b.rod(hub - frame[:, 1] * 0.06, hub + frame[:, 1] * 0.06, 0.055, f"rim/{name}")
        for angle in (0.0, 60.0, 120.0):
            bar = frame @ heading(0, angle)[:, 0] * radius * 0.82
            b.rod(hub - bar, hub + bar, 0.012, f"rim/{name}")
        b.mark(f"{name}_hub", hub, slack=0.09)
        b.mark(f"{name}_wheel_bottom", hub - vec(0, 0, radius * 0.9), slack=0.08)
    turn = b.pose.uniform(0, 360) * b.articulation
    for side, sign in SIDES:
        out = 0.11 * sign
        end = bracket + vec(0, out, 0) + sign * heading(0, turn)[:, 0] * 0.2
        b.rod(bracket + vec(0, out, 0), end, 0.03, "rim/crank")
        b.box(end + vec(0, 0.05 * sign, 0), (0.08, 0.06, 0.025), "grip/pedal")
        b.mark(f"{side}_pedal", end + vec(0, 0.05 * sign, 0), slack=0.08)
    b.rod(bracket - vec(0, 0.11, 0), bracket + vec(0, 0.11, 0), 0.09, "rim/crank")
