/* hf-config: the published numbers, other Llama shapes, and one complaint for each odd field. */
#include "unit/foreign_file.h"

#include "convert/hf-config.h"

#define SIZES "\"hidden_size\":64,\"num_hidden_layers\":2,\"num_attention_heads\":4,\"intermediate_size\":96," \
              "\"vocab_size\":500,\"max_position_embeddings\":4096,\"rms_norm_eps\":1e-5"
#define LLAMA "\"model_type\":\"llama\"," SIZES
#define SPEECH "\"model_type\":\"omni_speech2s_llama\"," SIZES ",\"speech_encoder_ds_rate\":5,\"unit_vocab_size\":1000," \
               "\"ctc_upsample_factor\":25"
#define DECODER ",\"ctc_decoder_config\":\"(2,4096,32,11008)\""

static om_hf_config good(const char *config, const char *generation)
{
    om_hf_config c;

    const int rc = om_hf_config_read_files(foreign_text("config.json", config),
                                           generation ? foreign_text("generation_config.json", generation) : NULL, &c);
    if (rc)
        fail_msg("%s", om_last_error());
    return c;
}

static void refuse(const char *config, const char *says)
{
    om_hf_config c;

    expect_reason(om_hf_config_read_files(foreign_text("config.json", config), NULL, &c), OMNI_ERR_MODEL, says);
    assert_non_null(strstr(om_last_error(), "config.json: "));
}

static void the_published_checkpoint(void **state)
{
    const om_hf_config c = good("{" SPEECH DECODER ",\"num_key_value_heads\":2,\"rope_theta\":500000.0,\"torch_dtype\":\"float16\","
        "\"rope_scaling\":{\"factor\":8.0,\"low_freq_factor\":1.0,\"high_freq_factor\":4.0,\"rope_type\":\"llama3\","
        "\"original_max_position_embeddings\":8192},\"bos_token_id\":400,\"eos_token_id\":[401,408,409],"
        "\"speech_encoder_type\":\"whisper\",\"speech_projector_type\":\"linear\",\"speech_generator_type\":\"ctc\"}", NULL);

    (void)state;
    assert_int_equal(c.heads_kv, 2);
    assert_int_equal(c.head_dim, 16);
    assert_int_equal(c.rope.kind, OM_ROPE_LLAMA3);
    assert_int_equal(c.rope.original_context, 8192);
    assert_true(c.rope.factor == 8.0 && c.rope_base == 500000.0);
    assert_int_equal(c.bos, 400);
    assert_int_equal(c.n_eos, 3);
    assert_int_equal(c.eos[2], 409);
    assert_true(c.has_speech);
    assert_int_equal(c.speech.stack, 5);
    assert_int_equal(c.speech.layers, 2);
    assert_int_equal(c.speech.ff, 11008);
    assert_int_equal(c.speech.units, 1000);
    assert_string_equal(c.dtype, "float16");
}

static void other_llamas(void **state)
{
    om_hf_config c = good("{" LLAMA "}", NULL);

    (void)state;
    assert_false(c.has_speech);
    assert_int_equal(c.heads_kv, 4);
    assert_int_equal(c.rope.kind, OM_ROPE_PLAIN);
    assert_true(c.rope_base == 10000.0);
    assert_int_equal(c.bos, -1);
    c = good("{" LLAMA ",\"tie_word_embeddings\":true,\"head_dim\":32,\"rope_scaling\":{\"type\":\"linear\",\"factor\":4},"
             "\"attention_bias\":true,\"eos_token_id\":7}", "{\"eos_token_id\":[8,9]}");
    assert_true(c.tied && c.head_dim_given && c.attention_bias);
    assert_int_equal(c.head_dim, 32);
    assert_int_equal(c.rope.kind, OM_ROPE_LINEAR);
    assert_int_equal(c.n_eos, 2);
    assert_int_equal(c.eos[0], 8);
    c = good("{" LLAMA ",\"rope_scaling\":null,\"rope_parameters\":{\"rope_type\":\"default\",\"rope_theta\":1000000}}", "{}");
    assert_true(c.rope_base == 1e6);
}

static void odd_fields(void **state)
{
    (void)state;
    refuse("{" SIZES "}", "model_type");
    refuse("{\"model_type\":\"llama4\"," SIZES "}", "model_type: found \"llama4\"");
    refuse("{\"model_type\":\"llama\"}", "num_hidden_layers: found nothing");
    refuse("{" LLAMA ",\"num_key_value_heads\":3}", "num_key_value_heads");
    refuse("{" LLAMA ",\"num_key_value_heads\":\"4\"}", "num_key_value_heads");
    refuse("{" LLAMA ",\"head_dim\":15}", "head_dim");
    refuse("{" LLAMA ",\"hidden_act\":\"gelu\"}", "hidden_act");
    refuse("{" LLAMA ",\"tie_word_embeddings\":1}", "tie_word_embeddings");
    refuse("{" LLAMA ",\"rope_scaling\":{\"rope_type\":\"yarn\",\"factor\":2}}", "rope_type: found \"yarn\"");
    refuse("{" LLAMA ",\"rope_scaling\":{\"rope_type\":\"llama3\",\"factor\":2}}", "low_freq_factor: found nothing");
    refuse("{" LLAMA ",\"rope_scaling\":[]}", "rope_scaling");
    refuse("{" LLAMA ",\"eos_token_id\":[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17]}", "eos_token_id");
    refuse("{" SPEECH "}", "ctc_decoder_config: found nothing");
    refuse("{" SPEECH ",\"ctc_decoder_config\":\"(2,4096,32)\"}", "ctc_decoder_config");
    refuse("{" SPEECH ",\"ctc_decoder_config\":\"(2,4096,32,11008) x\"}", "ctc_decoder_config");
    refuse("{" SPEECH ",\"ctc_decoder_config\":\"(2,4096,3,11008)\"}", "ctc_decoder_config");
    refuse("{" SPEECH DECODER ",\"speech_normalize\":true}", "speech_normalize");
    refuse("{" SPEECH DECODER ",\"speech_encoder_type\":\"hubert\"}", "speech_encoder_type");
}

static void no_json(void **state)
{
    om_hf_config c;

    (void)state;
    expect_reason(om_hf_config_read("/nowhere", &c), OMNI_ERR_IO, "config.json");
    expect_reason(om_hf_config_read_files(foreign_text("config.json", "[]"), NULL, &c), OMNI_ERR_FORMAT, "object");
    expect_reason(om_hf_config_read_files(foreign_text("config.json", "{\"a\":1,\"a\":2}"), NULL, &c), OMNI_ERR_FORMAT, "uplicate");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_published_checkpoint),
        cmocka_unit_test(other_llamas),
        cmocka_unit_test(odd_fields),
        cmocka_unit_test(no_json),
    };

    return cmocka_run_group_tests_name("hf-config", tests, foreign_begin, foreign_end);
}
