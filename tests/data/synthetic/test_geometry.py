from __future__ import annotations

import numpy as np
import pytest

from peftcorr.data.synthetic.builder import mirror_name
from peftcorr.data.synthetic.camera import Camera, orbit
from peftcorr.data.synthetic.categories import CATEGORIES
from peftcorr.data.synthetic.raster import DepthBuffer, draw
from peftcorr.data.synthetic.scene import Variety, build_object, landmark_visibility, render_view
from peftcorr.data.synthetic.solids import Array, Shape, Solid, depth_along, local_normals

CENTRED = Camera(np.eye(3), np.zeros(3), 100.0, (50.0, 40.0), 101, 81)


def inside(solid: Solid, points: Array) -> np.ndarray:
    """Whether points lie in a solid, from the definition of its shape."""
    local = np.linalg.solve(solid.matrix, (points - solid.centre).T).T
    radius, height = np.hypot(local[:, 0], local[:, 1]), local[:, 2]
    if solid.shape is Shape.ELLIPSOID:
        return (local**2).sum(axis=1) <= 1
    if solid.shape is Shape.BOX:
        return np.abs(local).max(axis=1) <= 1
    between = np.abs(height) <= 1
    if solid.shape is Shape.FRUSTUM:
        return between & (radius <= 1 + (solid.parameter - 1) * (height + 1) / 2)
    return between & (radius <= 1) & (radius >= solid.parameter)


def random_solid(shape: Shape, seed: int) -> Solid:
    rng = np.random.default_rng(seed)
    matrix = 0.6 * rng.normal(size=(3, 3))
    return Solid(shape, matrix, np.array([0.0, 0.0, 6.0]), "", float(rng.uniform(0.2, 0.8)))


@pytest.mark.parametrize("shape", Shape)
@pytest.mark.parametrize("seed", range(3))
def test_first_hit_is_where_a_marching_ray_enters(shape: Shape, seed: int) -> None:
    solid = random_solid(shape, seed)
    slopes = np.linspace(-0.25, 0.25, 9)
    u, v = (axis.ravel() for axis in np.meshgrid(slopes, slopes))
    exact = depth_along(solid, u, v)
    march = np.linspace(1, 11, 4001)
    for index in range(len(u)):
        points = march[:, None] * np.array([u[index], v[index], 1.0])
        inner = inside(solid, points)
        if inner.any():
            assert exact[index] == pytest.approx(march[inner.argmax()], abs=0.004)
        elif np.isfinite(exact[index]):  # a sliver thinner than the march's step
            chord = exact[index] + np.linspace(0, 0.004, 50)
            assert inside(solid, chord[:, None] * np.array([u[index], v[index], 1.0])).any()
    assert np.isfinite(exact).any()


@pytest.mark.parametrize("shape", Shape)
def test_normals_point_outwards(shape: Shape) -> None:
    solid = random_solid(shape, 7)
    slopes = np.linspace(-0.3, 0.3, 40)
    u, v = (axis.ravel() for axis in np.meshgrid(slopes, slopes))
    depth = depth_along(solid, u, v)
    hit = np.isfinite(depth)
    rays = np.stack([u, v, np.ones_like(u)], axis=1)[hit]
    points = rays * depth[hit, None]
    local = np.linalg.solve(solid.matrix, (points - solid.centre).T).T
    normals = local_normals(shape, np.full(hit.sum(), solid.parameter), local) @ np.linalg.inv(solid.matrix)
    assert ((normals * rays).sum(axis=1) < 1e-9).all()  # a surface that is seen faces the camera
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    assert not inside(solid, points + 1e-4 * normals).any()
    assert inside(solid, points - 1e-4 * normals).mean() > 0.98  # but for thin edges


def test_a_solid_is_drawn_where_its_centre_projects() -> None:
    rotation = orbit(35.0, 20.0, 5.0)
    camera = Camera(rotation, np.array([0.1, -0.2, 5.0]), 300.0, (70.0, 60.0), 150, 130)
    centre = np.array([0.3, -0.2, 0.1])
    small = Solid(Shape.ELLIPSOID, 0.05 * np.eye(3), centre, "").moved(rotation, camera.translation)
    buffer = DepthBuffer.empty(camera)
    draw(buffer, camera, [small])
    rows, columns = np.nonzero(buffer.owner == 0)
    drawn = np.array([columns.mean(), rows.mean()])
    assert drawn == pytest.approx(camera.project(centre[None])[0], abs=0.25)


def test_the_camera_sees_left_and_up_where_they_are() -> None:
    def pixel(azimuth: float, point: tuple[float, float, float]) -> Array:
        rotation = orbit(azimuth, 0.0, 0.0)
        camera = Camera(rotation, np.array([0.0, 0.0, 5.0]), 100.0, (50.0, 50.0), 101, 101)
        return camera.project(np.array([point]))[0]

    assert pixel(0.0, (0, 1, 0)) == pytest.approx([70, 50])  # in front of it, its left is on our right
    assert pixel(180.0, (0, 1, 0)) == pytest.approx([30, 50])
    assert pixel(90.0, (1, 0, 0)) == pytest.approx([30, 50])  # from its left it looks to our left
    assert pixel(0.0, (0, 0, 1)) == pytest.approx([50, 30])


def test_bounds_on_screen_lose_no_pixel() -> None:
    for seed in range(4):
        for shape in Shape:
            solid = random_solid(shape, seed)
            buffer = DepthBuffer.empty(CENTRED)
            draw(buffer, CENTRED, [solid])
            x, y = np.meshgrid(np.arange(101.0), np.arange(81.0))
            everywhere = depth_along(solid, *CENTRED.slopes(x, y))
            assert np.array_equal(np.isfinite(everywhere), buffer.owner == 0)


def test_visibility_is_exact_on_a_known_scene() -> None:
    wall = Solid(
        Shape.BOX, np.diag([0.5, 0.5, 0.1]), np.array([0.0, 0.0, 4.0]), ""
    )  # front face at depth 3.9
    points = np.array(
        [
            [0.0, 0.0, 3.9],  # on the face
            [0.0, 0.0, 4.1],  # on the back, which the wall itself hides
            [0.0, 0.0, 3.95],  # just under the face
            [0.6, 0.0, 4.5],  # behind, but past the edge: 0.6 / 4.5 > 0.5 / 3.9
            [0.55, 0.0, 4.5],  # behind and hidden by the edge: 0.55 / 4.5 < 0.5 / 3.9
            [3.0, 0.0, 4.0],  # outside the image
            [0.0, 0.0, -1.0],  # behind the camera
        ]
    )
    slack = np.array([0.01, 0.01, 0.06, 0.01, 0.01, 0.01, 0.01])
    seen = landmark_visibility(CENTRED, [wall], points, slack)
    assert seen.tolist() == [True, False, True, True, False, False, False]
    assert landmark_visibility(CENTRED, [], points, slack).tolist() == [True] * 5 + [False] * 2


@pytest.mark.parametrize("category", CATEGORIES)
def test_a_neutral_object_is_its_own_mirror_image(category: str) -> None:
    for seed in range(3):
        built = build_object(CATEGORIES[category], seed, Variety(articulation=0.0))
        assert set(built.landmarks) <= set(CATEGORIES[category].landmarks)
        for name, landmark in built.landmarks.items():
            reflected = built.landmarks[mirror_name(name)]
            if "pedal" not in name:  # one crank points where the other does not
                assert landmark.point * (1, -1, 1) == pytest.approx(reflected.point, abs=1e-9)
            if "left" in name.split("_"):
                assert landmark.point[1] > 0.01
            assert landmark.slack == reflected.slack


@pytest.mark.parametrize("category", CATEGORIES)
def test_the_mirrored_view_shows_the_partner(category: str) -> None:
    """From mirrored cameras a neutral object's silhouettes mirror each other, and landmarks swap sides."""
    built = build_object(CATEGORIES[category], 3, Variety(articulation=0.0))
    names = list(built.landmarks)
    points = np.stack([built.landmarks[name].point for name in names])
    slack = np.array([built.landmarks[name].slack for name in names])
    silhouettes, pixels, seen = [], [], []
    for azimuth in (40.0, -40.0):
        rotation = orbit(azimuth, 15.0, 0.0)
        camera = Camera(rotation, np.array([0.0, 0.0, 8.0]), 200.0, (60.0, 60.0), 121, 121)
        solids = [solid.moved(rotation, camera.translation) for solid in built.solids]
        buffer = DepthBuffer.empty(camera)
        draw(buffer, camera, solids)
        silhouettes.append(buffer.owner >= 0)
        pixels.append(dict(zip(names, camera.project(points), strict=True)))
        seen.append(dict(zip(names, landmark_visibility(camera, solids, points, slack), strict=True)))
    cranks = category == "bicycle"  # half a turn apart, so not mirror images
    assert (silhouettes[0] != silhouettes[1][:, ::-1]).mean() < (0.01 if cranks else 0.002)
    for name in names:
        if "pedal" in name:
            continue
        x, y = pixels[0][name]
        assert pixels[1][mirror_name(name)] == pytest.approx([120 - x, y])
        assert seen[0][name] == seen[1][mirror_name(name)]


@pytest.mark.parametrize("category", CATEGORIES)
def test_every_landmark_is_seen_from_somewhere(category: str) -> None:
    built = build_object(CATEGORIES[category], 1)
    names = list(built.landmarks)
    points = np.stack([built.landmarks[name].point for name in names])
    slack = np.array([built.landmarks[name].slack for name in names])
    seen: set[str] = set()
    for azimuth in range(-180, 180, 30):
        for elevation in (-20.0, 10.0, 40.0):
            rotation = orbit(azimuth, elevation, 0.0)
            camera = Camera(rotation, np.array([0.0, 0.0, 8.0]), 200.0, (80.0, 80.0), 161, 161)
            solids = [solid.moved(rotation, camera.translation) for solid in built.solids]
            visible = landmark_visibility(camera, solids, points, slack)
            seen |= {name for name, here in zip(names, visible, strict=True) if here}
    assert seen == set(names)


def test_another_look_changes_colours_and_no_shape() -> None:
    plain, other = (render_view("chair", 5, 0, look_seed=look) for look in (0, 1))
    assert plain.landmarks == other.landmarks
    assert plain.visible == other.visible
    assert plain.box == other.box
    assert np.abs(plain.image.astype(int) - other.image).mean() > 10


@pytest.mark.parametrize("fill", [0.1, 6.0])
def test_a_view_that_shows_too_little_is_drawn_again_and_in_the_end_refused(fill: float) -> None:
    """An object of a tenth of the image's side covers too few pixels; of one six times as large most lies outside."""
    with pytest.raises(RuntimeError, match="no clear view of car 0 in 30 attempts"):
        render_view("car", 0, 0, variety=Variety(fill=(fill, fill)))


def test_variety_bounds_the_camera_and_the_shapes() -> None:
    narrow = Variety(azimuth=(20.0, 30.0), proportions=0.0, articulation=0.0)
    views = [render_view("bird", seed, 0, variety=narrow) for seed in range(4)]
    assert all(20 <= view.azimuth <= 30 for view in views)
    built = [
        build_object(CATEGORIES["chair"], seed, Variety(proportions=0.0, articulation=0.0)) for seed in (0, 2)
    ]
    same = {seed: built[seed].landmarks for seed in (0, 1)}
    for name in same[0].keys() & same[1].keys():
        assert same[0][name].point == pytest.approx(same[1][name].point)
