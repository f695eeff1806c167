"""What one meets indoors: a person and a chair."""

from __future__ import annotations

import numpy as np

from peftcorr.data.synthetic.builder import Builder, heading
from peftcorr.data.synthetic.categories.parts import SIDES, category, eyes, vec
from peftcorr.data.synthetic.materials import plain_material
from peftcorr.data.synthetic.solids import Shape


@category("nose head_top *_eye *_shoulder *_elbow *_hand *_knee *_toe")
def person(b: Builder) -> None:
    """A standing or walking person."""
    b.paint("shirt", "sleeve", like=0.6)
    b.paint("trousers")
    b.colours(shoe=(0.05, 0.3, 0.3))
    dark, pale = vec(0.35, 0.2, 0.12), vec(1.0, 0.82, 0.7)
    b.materials["skin"] = plain_material(dark + b.look.uniform() * (pale - dark))
    b.colours(hair=(0.05, 0.4, 0.3), eye=(0.02, 0.12, 0.8))
    torso, broad, deep = b.size(0.5, 0.68), b.size(0.24, 0.34), b.size(0.13, 0.2)
    upper = heading(b.bend(20), 0, b.bend(10)) @ heading(0, b.bend(12))
    chest = upper @ vec(0, 0, torso)
    b.blade((0, 0, 0), chest, upper @ vec(0, broad * 0.85, 0), upper @ vec(deep, 0, 0), "shirt", taper=1.15)
    b.ellipsoid((0, 0, -0.02), (deep, broad * 0.88, 0.17), "trousers")
    b.ellipsoid(chest, (deep * 1.05, broad, 0.13), "shirt", upper)

    head = b.size(0.15, 0.21)
    frame = upper @ heading(b.bend(40), b.bend(20))
    skull = chest + upper @ vec(0.02, 0, 0.14 + head)
    b.rod(chest, skull, 0.085, "skin")
    b.ellipsoid(skull, (head, head * 0.82, head * 1.15), "skin", frame)
    hair = skull + frame @ vec(-head * 0.28, 0, head * 0.35)
    b.ellipsoid(hair, (head * 0.95, head * 0.9, head), "hair", frame)
    b.ball(skull + frame @ vec(head * 1.02, 0, -0.05 * head), head * 0.18, "skin")
    b.mark("nose", skull + frame @ vec(head * 1.18, 0, -0.05 * head))
    b.mark("head_top", skull + frame @ vec(-head * 0.25, 0, head * 1.33))
    eyes(b, skull, frame, (0.82 * head, 0.38 * head, 0.18 * head), 0.15 * head)

    arm, slim = b.size(0.3, 0.38), b.size(0.065, 0.09)
    leg, thigh = b.size(0.42, 0.52), b.size(0.1, 0.14)
    for side, sign in SIDES:
        shoulder = chest + upper @ vec(0, broad * 0.97 * sign, 0)
        raised, forward = -62 + b.bend(50), b.bend(50)
        bone = upper @ heading(sign * (90 - forward), raised)
        elbow = shoulder + bone[:, 0] * arm
        fore = upper @ heading(sign * (60 - forward + b.bend(40)), raised + 25 + b.bend(45))
        wrist = elbow + fore[:, 0] * arm
        b.ball(shoulder, slim * 1.25, "sleeve")
        b.rod(shoulder, elbow, slim * 1.2, "sleeve", taper=0.8)
        b.ball(elbow, slim, "sleeve/elbow")
        b.rod(elbow, wrist, slim * 0.9, "skin", taper=0.75)
        b.ball(wrist, slim * 1.1, "skin")
        b.mark(f"{side}_shoulder", shoulder, slack=slim * 1.6)
        b.mark(f"{side}_elbow", elbow, slack=slim * 1.2)
        b.mark(f"{side}_hand", wrist, slack=slim * 1.2)

        hip = vec(0, broad * 0.45 * sign, -0.05)
        swing, knee = b.bend(40), 12 + b.bend(12)
        down = heading(sign * 4, 0) @ heading(0, -90 + swing)
        joint = hip + down[:, 0] * leg
        ankle = joint + heading(0, -90 + swing - 2 * knee)[:, 0] * leg
        b.rod(hip, joint, thigh, "trousers", taper=0.72)
        b.ball(joint, thigh * 0.72, "trousers/knee")
        b.rod(joint, ankle, thigh * 0.72, "trousers", taper=0.65)
        b.ellipsoid(ankle + vec(0.07, 0, -0.03), (0.16, 0.075, 0.06), "shoe")
        b.mark(f"{side}_knee", joint, slack=thigh * 0.9)
        b.mark(f"{side}_toe", ankle + vec(0.22, 0, -0.03))


@category("back_top_* seat_front_* seat_rear_* front_*_foot rear_*_foot arm_*_end", elevation=(0.0, 50.0))
def chair(b: Builder) -> None:
    """A chair, with or without arms, its back solid or of slats."""
    b.paint("seat", "back", like=0.5)
    b.paint("leg", "arm", like=0.7, plain=0.6)
    b.colours(cap=(0.03, 0.2, 0.3))
    wide, deep, thick = b.size(0.4, 0.6), b.size(0.4, 0.55), b.size(0.04, 0.1)
    b.box((0, 0, 0), (deep, wide, thick), "seat")
    height, lean = b.size(0.45, 0.85), b.size(0.0, 0.3) + 0.15 * abs(b.bend(1))
    slats, rim = b.chance(0.4), b.size(0.04, 0.08)
    foot = vec(-deep + rim, 0, thick)
    rise = vec(-lean, 0, 2 * height)
    if slats:
        for y in np.linspace(-1, 1, 4) * (wide - rim):
            b.rod(foot + vec(0, y, 0), foot + rise + vec(0, y, 0), rim * 0.8, "leg")
        for level in (0.55, 0.92):
            b.box(foot + rise * level, (rim * 0.7, wide, 0.12), "back")
    else:
        b.solid(Shape.BOX, (vec(rim, 0, 0), vec(0, wide, 0), rise / 2), foot + rise / 2, "back")
    for side, sign in SIDES:
        b.mark(f"back_top_{side}", foot + rise + vec(0, (wide - 0.02) * sign, -0.02), slack=0.12)

    leg, splay, radius = b.size(0.4, 0.75), b.size(0.0, 0.15), b.size(0.04, 0.075)
    for end, x, inset, slack in (("front", deep - radius, 0.0, 0.03), ("rear", -deep + radius, 0.02, 0.09)):
        for side, sign in SIDES:
            top = vec(x, (wide - radius) * sign, 0)
            low = top + vec(np.sign(x) * splay, splay * sign, -leg)
            b.rod(top, low, radius, f"leg/{end}", taper=0.75)
            b.ball(low, radius * 1.1, f"cap/{end}")
            b.mark(f"{end}_{side}_foot", low, slack=radius * 1.2)
            b.mark(f"seat_{end}_{side}", vec(deep * np.sign(x) + inset, wide * sign, thick), slack=slack)
    if b.chance(0.6):
        rest, reach = b.size(0.3, 0.45), deep * b.size(0.5, 0.95)
        for side, sign in SIDES:
            front = vec(reach, (wide + 0.02) * sign, rest)
            b.rod(vec(reach * 0.8, wide * sign, 0), front, 0.05, "leg")
            half = ((front[0] + deep) / 2 + 0.04, 0.065, 0.04)
            b.box((front[0] / 2 - deep / 2, front[1], rest), half, "arm")
            b.ball(front + vec(0.02, 0, 0), 0.07, "cap/arm")
            b.mark(f"arm_{side}_end", front + vec(0.04, 0, 0.03), slack=0.08)
