/* A Bluetooth headset as a session manager sees one: a device with a profile that only plays
 * and one that records, too. Exports it to the PipeWire of its environment, and prints the
 * profile's name at the beginning and whenever it is set.
 */

#include <stdio.h>

#include <pipewire/pipewire.h>
#include <spa/monitor/device.h>
#include <spa/monitor/utils.h>
#include <spa/param/param.h>
#include <spa/pod/builder.h>
#include <spa/pod/parser.h>
#include <spa/utils/result.h>

enum { OFF, A2DP, HEADSET, PROFILES };
enum { ENUM_PROFILE, PROFILE, ENUM_ROUTE, PARAMS };

static const struct {
	const char *name;
	int priority;
} profiles[PROFILES] = { { "off", 0 }, { "a2dp-sink", 16 }, { "headset-head-unit", 1 } };

struct headset {
	struct spa_device device;
	struct spa_hook_list hooks;
	struct spa_param_info params[PARAMS];
	int profile;
};

static void say(struct headset *headset)
{
	printf("%s\n", profiles[headset->profile].name);
	fflush(stdout);
}

static void emit_info(struct headset *headset)
{
	static const struct spa_dict_item items[] = {
		{ "device.api", "bluez5" },
		{ "device.name", "bluez_card.00_00_00_00_00_01" },
		{ "device.description", "A headset" },
		{ "media.class", "Audio/Device" },
	};
	struct spa_dict props = SPA_DICT_INIT_ARRAY(items);
	struct spa_device_info info = SPA_DEVICE_INFO_INIT();
	info.change_mask = SPA_DEVICE_CHANGE_MASK_PROPS | SPA_DEVICE_CHANGE_MASK_PARAMS;
	info.props = &props;
	info.params = headset->params;
	info.n_params = PARAMS;
	spa_device_emit_info(&headset->hooks, &info);
}

static int add_listener(void *object, struct spa_hook *listener,
			const struct spa_device_events *events, void *data)
{
	struct headset *headset = object;
	struct spa_hook_list save;
	spa_hook_list_isolate(&headset->hooks, &save, listener, events, data);
	emit_info(headset);
	spa_hook_list_join(&headset->hooks, &save);
	return 0;
}

static int sync_(void *object, int seq)
{
	struct headset *headset = object;
	spa_device_emit_result(&headset->hooks, seq, 0, 0, NULL);
	return 0;
}

static struct spa_pod *profile(struct spa_pod_builder *builder, uint32_t id, int index)
{
	return spa_pod_builder_add_object(builder,
		SPA_TYPE_OBJECT_ParamProfile, id,
		SPA_PARAM_PROFILE_index, SPA_POD_Int(index),
		SPA_PARAM_PROFILE_name, SPA_POD_String(profiles[index].name),
		SPA_PARAM_PROFILE_description, SPA_POD_String(profiles[index].name),
		SPA_PARAM_PROFILE_priority, SPA_POD_Int(profiles[index].priority),
		SPA_PARAM_PROFILE_available, SPA_POD_Id(SPA_PARAM_AVAILABILITY_yes));
}

enum { SPEAKER, MICROPHONE, ROUTES };

/* The microphone is there in one profile only. */
static struct spa_pod *route(struct spa_pod_builder *builder, uint32_t id, int index)
{
	int32_t in[] = { HEADSET, A2DP }, devices[] = { index };
	int is_microphone = index == MICROPHONE;
	return spa_pod_builder_add_object(builder,
		SPA_TYPE_OBJECT_ParamRoute, id,
		SPA_PARAM_ROUTE_index, SPA_POD_Int(index),
		SPA_PARAM_ROUTE_direction,
		SPA_POD_Id(is_microphone ? SPA_DIRECTION_INPUT : SPA_DIRECTION_OUTPUT),
		SPA_PARAM_ROUTE_name,
		SPA_POD_String(is_microphone ? "headset-input" : "headset-output"),
		SPA_PARAM_ROUTE_description,
		SPA_POD_String(is_microphone ? "Microphone" : "Loudspeaker"),
		SPA_PARAM_ROUTE_priority, SPA_POD_Int(1),
		SPA_PARAM_ROUTE_available, SPA_POD_Id(SPA_PARAM_AVAILABILITY_yes),
		SPA_PARAM_ROUTE_profiles,
		SPA_POD_Array(sizeof(int32_t), SPA_TYPE_Int, is_microphone ? 1 : 2, in),
		SPA_PARAM_ROUTE_devices, SPA_POD_Array(sizeof(int32_t), SPA_TYPE_Int, 1, devices));
}

static int enum_params(void *object, int seq, uint32_t id, uint32_t start, uint32_t num,
		       const struct spa_pod *filter)
{
	struct headset *headset = object;
	uint32_t count = id == SPA_PARAM_EnumProfile ? PROFILES :
		id == SPA_PARAM_EnumRoute ? ROUTES : 1;
	(void)filter;
	for (uint32_t at = start; at < count && at - start < num; at++) {
		uint8_t buffer[1024];
		struct spa_pod_builder builder = SPA_POD_BUILDER_INIT(buffer, sizeof(buffer));
		struct spa_result_device_params result = { .id = id, .index = at, .next = at + 1 };
		if (id == SPA_PARAM_EnumProfile)
			result.param = profile(&builder, id, at);
		else if (id == SPA_PARAM_Profile)
			result.param = profile(&builder, id, headset->profile);
		else if (id == SPA_PARAM_EnumRoute)
			result.param = route(&builder, id, at);
		else
			return -ENOENT;
		spa_device_emit_result(&headset->hooks, seq, 0, SPA_RESULT_TYPE_DEVICE_PARAMS,
				       &result);
	}
	return 0;
}

static int set_param(void *object, uint32_t id, uint32_t flags, const struct spa_pod *param)
{
	struct headset *headset = object;
	int32_t index = 0;
	(void)flags;
	if (id != SPA_PARAM_Profile || param == NULL)
		return -ENOENT;
	if (spa_pod_parse_object(param, SPA_TYPE_OBJECT_ParamProfile, NULL,
				 SPA_PARAM_PROFILE_index, SPA_POD_Int(&index)) < 0 ||
	    index < 0 || index >= PROFILES)
		return -EINVAL;
	headset->profile = index;
	headset->params[PROFILE].flags ^= SPA_PARAM_INFO_SERIAL;
	emit_info(headset);
	say(headset);
	return 0;
}

static const struct spa_device_methods methods = {
	SPA_VERSION_DEVICE_METHODS,
	.add_listener = add_listener,
	.sync = sync_,
	.enum_params = enum_params,
	.set_param = set_param,
};

int main(int argc, char *argv[])
{
	struct headset headset = { .profile = A2DP };
	pw_init(&argc, &argv);
	headset.device.iface = SPA_INTERFACE_INIT(SPA_TYPE_INTERFACE_Device,
		SPA_VERSION_DEVICE, &methods, &headset);
	spa_hook_list_init(&headset.hooks);
	headset.params[ENUM_PROFILE] = SPA_PARAM_INFO(SPA_PARAM_EnumProfile, SPA_PARAM_INFO_READ);
	headset.params[PROFILE] = SPA_PARAM_INFO(SPA_PARAM_Profile, SPA_PARAM_INFO_READWRITE);
	headset.params[ENUM_ROUTE] = SPA_PARAM_INFO(SPA_PARAM_EnumRoute, SPA_PARAM_INFO_READ);

	struct pw_main_loop *loop = pw_main_loop_new(NULL);
	struct pw_context *context = pw_context_new(pw_main_loop_get_loop(loop), NULL, 0);
	struct pw_core *core = context ? pw_context_connect(context, NULL, 0) : NULL;
	static const struct spa_dict_item items[] = {
		{ "device.api", "bluez5" },
		{ "device.name", "bluez_card.00_00_00_00_00_01" },
		{ "device.description", "A headset" },
		{ "media.class", "Audio/Device" },
	};
	struct spa_dict props = SPA_DICT_INIT_ARRAY(items);
	if (core == NULL || pw_core_export(core, SPA_TYPE_INTERFACE_Device, &props,
					   &headset.device, 0) == NULL) {
		perror("headset");
		return 1;
	}
	say(&headset);
	pw_main_loop_run(loop);
	return 0;
}
