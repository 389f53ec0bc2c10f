"""A scene for Blender: a wall of smoothed bodies, lit by two lamps; frames 1 and 20 of it, in the folder that is given."""
import sys

import bpy

folder = sys.argv[-1]
for thing in list(bpy.data.objects):
    bpy.data.objects.remove(thing)
for i in range(40):
    bpy.ops.mesh.primitive_monkey_add(location=(i % 8 * 2.2 - 8, i // 8 * 2.2 - 4, 0), rotation=(i * 0.3, 0.4, i))
    body = bpy.context.object
    body.modifiers.new("smooth", "SUBSURF").levels = 2
    body.modifiers["smooth"].render_levels = 2
    material = bpy.data.materials.new(f"material {i}")
    material.use_nodes = True
    material.node_tree.nodes["Principled BSDF"].inputs[0].default_value = (i / 40, 1 - i / 40, i % 5 / 5, 1)
    body.data.materials.append(material)
    body.keyframe_insert("rotation_euler", frame=1)
    body.rotation_euler.x += 2
    body.keyframe_insert("rotation_euler", frame=30)
for at in (0, -6, 9), (7, 5, 6):
    bpy.ops.object.light_add(type="POINT", location=at)
    bpy.context.object.data.energy = 2500
bpy.ops.object.camera_add(location=(0, 0, 24))
scene = bpy.context.scene
scene.camera = bpy.context.object
scene.render.engine = "CYCLES"
scene.cycles.device = "CPU"
scene.cycles.samples = 8
scene.cycles.use_denoising = False
scene.render.resolution_x, scene.render.resolution_y, scene.render.resolution_percentage = 480, 300, 100
depsgraph = bpy.context.evaluated_depsgraph_get()
meshes = [each.evaluated_get(depsgraph).data for each in bpy.data.objects if each.type == "MESH"]
print("scene has", sum(len(mesh.vertices) for mesh in meshes), "vertices")
for number in 1, 20:
    scene.frame_set(number)
    scene.render.filepath = f"{folder}/frame{number}.png"
    bpy.ops.render.render(write_still=True)
