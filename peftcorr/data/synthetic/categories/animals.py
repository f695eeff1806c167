"""Animals: a quadruped, a bird, a fish and an insect."""

from __future__ import annotations

import numpy as np

from peftcorr.data.synthetic.builder import Builder, heading
from peftcorr.data.synthetic.categories.parts import SIDES, category, eyes, vec


@category("nose withers tail_base tail_tip *_eye *_ear_tip front_*_knee front_*_paw rear_*_knee rear_*_paw")
def quadruped(b: Builder) -> None:
    """Four-legged: from dog to horse by its proportions."""
    b.paint("body", "limb", "head")
    b.colours(eye=(0.02, 0.15, 0.8), nose=(0.05, 0.3, 0.3), paw=(0.05, 0.3, 0.3), ear=(0.7, 1.0, 0.3))
    length, girth = b.size(0.75, 1.1), b.size(0.27, 0.42)
    b.ellipsoid((0, 0, 0), (length, girth, girth * b.size(0.95, 1.2)), "body")

    yaw, pitch = b.bend(25), b.size(30, 65) + b.bend(15)
    base = vec(length * 0.75, 0, girth * 0.35)
    head = b.size(0.2, 0.3)
    crown = base + heading(yaw, pitch)[:, 0] * b.size(0.45, 0.9)
    b.rod(base, crown, girth * 0.62, "body/neck", taper=0.65)
    b.mark("withers", vec(length * 0.45, 0, girth * 0.95), slack=0.12)

    frame = heading(yaw + b.bend(25), b.size(-40, -10) + b.bend(15))
    b.ellipsoid(crown, (1.25 * head, 0.85 * head, 0.95 * head), "head", frame)
    muzzle = crown + frame @ vec(b.size(1.5, 2.3) * head, 0, -0.15 * head)
    b.rod(crown, muzzle, 0.7 * head, "head", taper=0.6)
    b.ball(muzzle, 0.42 * head, "nose")
    b.mark("nose", muzzle + frame @ vec(0.42 * head, 0, 0))
    eyes(b, crown, frame, (0.55 * head, 0.72 * head, 0.42 * head), 0.22 * head)
    ear, spread = b.size(0.6, 1.4) * head, b.size(0.3, 1.1)
    for side, sign in SIDES:
        root = crown + frame @ vec(-0.4 * head, 0.55 * sign * head, 0.6 * head)
        tip = root + frame @ vec(-0.25, sign * spread, 1.0) * ear
        flat, thin = frame @ vec(0.1, 0.34 * sign * head, 0), frame @ vec(0.18 * head, 0, 0)
        b.blade(root, tip, flat, thin, "ear", taper=0.15)
        b.mark(f"{side}_ear_tip", tip)

    leg, thick = b.size(0.55, 0.95), girth * b.size(0.3, 0.45)
    for end, place, knee_bend in (("front", 0.68, -1.0), ("rear", -0.72, 1.0)):
        for side, sign in SIDES:
            hip = vec(length * place, girth * 0.6 * sign, -girth * 0.45)
            swing, knee = b.bend(35), b.bend(25) + 12 * knee_bend
            upper = heading(0, -90 + swing)[:, 0] * leg * 0.5
            lower = heading(0, -90 + swing - knee)[:, 0] * leg * 0.5
            joint, ankle = b.limb(hip, [upper, lower], thick, f"limb/{end}", f"limb/{end}_knee")
            b.ellipsoid(ankle + vec(0.05, 0, 0), (thick * 1.1, thick * 0.75, thick * 0.55), f"paw/{end}")
            b.mark(f"{end}_{side}_knee", joint, slack=thick)
            b.mark(f"{end}_{side}_paw", ankle + vec(0.03, 0, -0.02), slack=thick)

    tail = vec(-length * 0.95, 0, girth * 0.3)
    end_point = tail + heading(180 + b.bend(40), b.size(-60, 50) + b.bend(20))[:, 0] * b.size(0.35, 0.9)
    b.rod(tail, end_point, girth * 0.2, "limb/tail", taper=0.5)
    b.mark("tail_base", tail, slack=girth * 0.2)
    b.ball(end_point, girth * 0.2, "ear/tail")
    b.mark("tail_tip", end_point, slack=girth * 0.2)


@category(
    "beak_tip crown breast *_eye *_wing_elbow *_wing_tip tail_*_corner *_foot",
    elevation=(-20.0, 50.0),
    grounded=False,
)
def bird(b: Builder) -> None:
    """A bird with its wings spread."""
    b.paint("body", "wing", "head", "tail", like=0.4)
    b.colours(beak=(0.7, 1.0, 0.3), tip=(0.05, 0.3, 0.3), eye=(0.02, 0.15, 0.8))
    length, girth = b.size(0.55, 0.75), b.size(0.28, 0.38)
    tilt = heading(0, b.size(5, 35) + b.bend(10))
    b.ellipsoid((0, 0, 0), (length, girth, girth), "body", tilt)
    b.mark("breast", tilt @ vec(length * 0.75, 0, -girth * 0.6), slack=0.06)

    head = b.size(0.19, 0.27)
    crown = tilt @ vec(length * 0.85, 0, girth * 0.75) + vec(0.05, 0, b.size(0.05, 0.4))
    b.rod(tilt @ vec(length * 0.55, 0, girth * 0.3), crown, girth * 0.6, "body", taper=0.6)
    frame = heading(b.bend(40), b.bend(15))
    b.ball(crown, head, "head")
    beak = crown + frame @ vec(head + b.size(0.12, 0.45), 0, -0.03)
    b.rod(crown + frame @ vec(0.75 * head, 0, 0), beak, head * 0.45, "beak", taper=0.1)
    b.mark("beak_tip", beak)
    b.mark("crown", crown + frame @ vec(0, 0, head))
    eyes(b, crown, frame, (0.5 * head, 0.75 * head, 0.3 * head), 0.2 * head)

    span, chord = b.size(0.8, 1.25), b.size(0.28, 0.4)
    sweep, hook = b.size(-25, 5), b.size(10, 35)
    for side, sign in SIDES:
        root = tilt @ vec(length * 0.25, girth * 0.8 * sign, girth * 0.3)
        raised, swept = 15 + b.bend(50), sweep + b.bend(15)
        arm = heading(sign * (90 + swept), raised)
        elbow = root + arm[:, 0] * span * 0.5
        outer = heading(sign * (90 + swept + hook), raised + b.bend(25))
        tip = elbow + outer[:, 0] * span * 0.6
        b.blade(root, elbow, tilt @ vec(chord, 0, 0), arm[:, 2] * 0.05, "wing", taper=0.95)
        b.blade(elbow, tip, tilt @ vec(chord * 0.95, 0, 0), outer[:, 2] * 0.045, "wing/outer", taper=0.25)
        b.mark(f"{side}_wing_elbow", elbow + tilt @ vec(chord * 0.9, 0, 0), slack=0.06)
        last = elbow + 0.8 * (tip - elbow)
        b.blade(last, tip, tilt @ vec(chord * 0.5, 0, 0), outer[:, 2] * 0.05, "tip", taper=0.4)
        b.mark(f"{side}_wing_tip", tip, slack=0.05)

    root = tilt @ vec(-length * 0.8, 0, 0)
    fan, width = b.size(0.35, 0.75), b.size(0.12, 0.3)
    back = heading(b.bend(15), b.size(-10, 25))
    b.blade(root - back[:, 0] * fan, root, back[:, 1] * width, back[:, 2] * 0.05, "tail", taper=0.4)
    for side, sign in SIDES:
        b.mark(f"tail_{side}_corner", root - back[:, 0] * fan + back[:, 1] * width * 0.85 * sign, slack=0.06)

    leg = b.size(0.25, 0.6)
    for side, sign in SIDES:
        hip = tilt @ vec(-length * 0.1, girth * 0.45 * sign, -girth * 0.7)
        foot = hip + heading(0, -90 + b.bend(35))[:, 0] * leg
        b.rod(hip, foot, 0.05, "beak/leg")
        b.ellipsoid(foot + vec(0.07, 0, 0), (0.15, 0.09, 0.035), "beak/foot")
        b.mark(f"{side}_foot", foot + vec(0.05, 0, 0), slack=0.07)


@category(
    "mouth dorsal_fin_front dorsal_fin_tip anal_fin_tip tail_base tail_upper_tip tail_lower_tip *_eye "
    "*_pectoral_tip *_pelvic_tip",
    elevation=(-30.0, 40.0),
    grounded=False,
)
def fish(b: Builder) -> None:
    """A fish."""
    b.paint("body", "fin", "tail", like=0.3)
    b.colours(eye=(0.02, 0.15, 0.8), lip=(0.4, 0.9, 0.3))
    length, depth, width = b.size(0.8, 1.05), b.size(0.35, 0.6), b.size(0.17, 0.28)
    b.ellipsoid((0, 0, 0), (length, width, depth), "body")
    bend = heading(b.bend(30), 0)
    root = vec(-length * 0.8, 0, 0)
    stalk = root - bend[:, 0] * 0.3
    b.rod(root + vec(0.25, 0, 0), stalk, depth * 0.42, "body/stalk", taper=0.5)
    b.mark("tail_base", stalk, slack=depth * 0.25)
    b.ball((length * 0.97, 0, -0.02), 0.09, "lip")
    b.mark("mouth", (length * 0.97 + 0.085, 0, -0.02))
    eyes(b, vec(length * 0.66, 0, depth * 0.2), np.eye(3), (0, width * 0.72, 0), 0.1)

    spread, fork = b.size(0.35, 0.7), b.size(0.2, 0.6)
    for name, sign in (("upper", 1.0), ("lower", -1.0)):
        tip = stalk - bend @ vec(fork, 0, -sign * spread)
        b.blade(stalk, tip, bend @ vec(0.2, 0, 0), bend @ vec(0, 0.04, 0), f"tail/{name}", taper=0.5)
        b.mark(f"tail_{name}_tip", tip, slack=0.05)

    height, lean = b.size(0.25, 0.5), b.size(-0.35, 0.0)
    top = vec(lean, 0, depth * 0.85 + height)
    b.blade((0.05, 0, depth * 0.8), top, vec(0.38, 0, 0), vec(0, 0.04, 0), "fin/dorsal", taper=0.45)
    b.mark("dorsal_fin_tip", top, slack=0.05)
    b.mark("dorsal_fin_front", vec(0.35, 0, depth * 0.93), slack=0.08)
    under = vec(-length * 0.35 + lean * 0.4, 0, -depth * 0.8 - b.size(0.15, 0.35))
    b.blade((-length * 0.3, 0, -depth * 0.7), under, vec(0.2, 0, 0), vec(0, 0.04, 0), "fin/anal", taper=0.4)
    b.mark("anal_fin_tip", under, slack=0.05)
    for side, sign in SIDES:
        chest = vec(length * 0.3, width * 0.85 * sign, -depth * 0.15)
        out = heading(sign * (125 + b.bend(30)), -15 + b.bend(30))
        tip = chest + out[:, 0] * 0.4
        b.blade(chest, tip, out[:, 2] * 0.13, out[:, 1] * 0.035, "fin/pectoral", taper=0.7)
        b.mark(f"{side}_pectoral_tip", tip, slack=0.05)
        pelvis = vec(length * 0.2, width * 0.4 * sign, -depth * 0.85)
        low = pelvis + heading(sign * (150 + b.bend(15)), -50 + b.bend(15))[:, 0] * 0.3
        b.blade(pelvis, low, vec(0.09, 0, 0), vec(0, 0.035, 0), "fin/pelvic", taper=0.5)
        b.mark(f"{side}_pelvic_tip", low, slack=0.05)


@category(
    "mouth waist abdomen_tip *_eye *_antenna_tip front_*_knee middle_*_knee rear_*_knee front_*_foot "
    "middle_*_foot rear_*_foot",
    elevation=(5.0, 65.0),
)
def insect(b: Builder) -> None:
    """Six legs in three pairs: the repeated parts of one side differ by their place alone."""
    b.paint("body", "abdomen", "head", like=0.45)
    b.colours(limb=(0.15, 0.6, 0.3), foot=(0.8, 1.0, 0.3), eye=(0.02, 0.3, 0.9))
    thorax, girth = b.size(0.3, 0.45), b.size(0.22, 0.32)
    b.ellipsoid((0, 0, 0), (thorax, girth, girth * 0.9), "body")
    tail = b.size(0.4, 0.75)
    droop = heading(180 + b.bend(15), b.size(-15, 15))
    middle = vec(-thorax * 0.85, 0, 0) + droop[:, 0] * tail * 0.8
    b.ellipsoid(middle, (tail, girth * b.size(1.0, 1.5), girth * b.size(0.9, 1.3)), "abdomen", droop)
    b.mark("abdomen_tip", middle + droop[:, 0] * tail)
    b.mark("waist", vec(-thorax * 0.85, 0, girth * 0.5), slack=0.12)

    head = b.size(0.18, 0.28)
    frame = heading(b.bend(25), b.bend(15))
    crown = vec(thorax * 0.9, 0, 0.04) + frame[:, 0] * head * 0.8
    b.ellipsoid(crown, (head, head * 1.1, head * 0.9), "head", frame)
    b.mark("mouth", crown + frame @ vec(head, 0, -0.1 * head))
    eyes(b, crown, frame, (0.4 * head, 0.85 * head, 0.35 * head), 0.32 * head)
    reach = b.size(0.4, 0.8)
    for side, sign in SIDES:
        root = crown + frame @ vec(0.6 * head, 0.35 * sign * head, 0.6 * head)
        tip = root + frame @ heading(sign * (25 + b.bend(15)), 40 + b.bend(20))[:, 0] * reach
        b.rod(root, tip, 0.035, "limb/antenna", taper=0.8)
        b.ball(tip, 0.06, "foot/antenna")
        b.mark(f"{side}_antenna_tip", tip, slack=0.06)

    leg, height = b.size(0.75, 1.05), b.size(35, 60)
    for name, place, fan in (("front", 0.6, -40.0), ("middle", 0.05, 0.0), ("rear", -0.5, 40.0)):
        for side, sign in SIDES:
            hip = vec(thorax * place, girth * 0.7 * sign, -girth * 0.3)
            yaw = sign * (90 + fan + b.bend(18))
            upper = heading(yaw, height * 0.7 + b.bend(12))[:, 0] * leg * 0.45
            lower = heading(yaw, -height + b.bend(12))[:, 0] * leg * 0.65
            part = f"limb/{name}"
            knee, foot = b.limb(hip, [upper, lower], 0.065, part, f"{part}_knee", taper=0.8)
            b.mark(f"{name}_{side}_knee", knee, slack=0.07)
            b.ball(foot, 0.07, f"foot/{name}")
            b.mark(f"{name}_{side}_foot", foot, slack=0.08)
